"""The container image of a compiled pipeline's tasks."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ib_keras.components.base import DEFAULT_IMAGE
from ib_keras.errors import ArgumentError

# A name with an optional host, tag and digest.
_REFERENCE = re.compile(r"[a-z0-9][\w.:/-]*(@sha256:[0-9a-f]{64})?", re.IGNORECASE)
_PROGRAM = (
    "import importlib.util as u, sys; "
    'lacks = [m for m in ("kfp", "ib_keras") if u.find_spec(m) is None]; '
    "sys.exit(sys.argv[1] + str(lacks) + sys.argv[2] if lacks else 0)"
)
_EXPECTED = ". Expected an image built by the Dockerfile of ib-keras, or upon one. Received: "


def containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the containers of a specification, each preceded by its component's name.

    Args:
        spec: KFP's intermediate representation. Importers have no container.
    """
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor.get("container")
        if container is not None:
            args = container.get("args", [])
            marked = args.index("--function_to_execute") if "--function_to_execute" in args else -2
            yield args[marked + 1] if marked >= 0 else "", container


def set_image(spec: Mapping[str, Any], image: str | None) -> dict[str, Any]:
    """Return a specification whose tasks run in the image, and first check the image.

    Args:
        spec: KFP's intermediate representation; it is not modified.
        image: reference of an image that has ``ib_keras``; ``None`` keeps the images of ``spec``.

    Returns:
        The new specification. A task whose image lacks ``kfp`` or ``ib_keras`` fails at once with
        a message that says so.

    Raises:
        ArgumentError: If the reference is missing or invalid.
    """
    with_image = copy.deepcopy(dict(spec))
    for _, container in containers(with_image):
        if image is None and container["image"] == DEFAULT_IMAGE:
            raise ArgumentError(
                "`image` is missing",
                "an image with ib_keras that the workers can pull: docker build -t IMAGE . and "
                "docker push IMAGE, then --image=IMAGE",
                "no image",
            )
        container["image"] = check_image(container["image"] if image is None else image)
        command = container["command"]
        if command[:2] == ["sh", "-ec"]:
            command[2] = _check_command(container["image"]) + command[2]
    return with_image


def check_image(image: str) -> str:
    """Return ``image`` if it is a reference of a container image.

    Raises:
        ArgumentError: If it is not.
    """
    if not isinstance(image, str) or not _REFERENCE.fullmatch(image):
        raise ArgumentError(
            "`image` is not a reference of a container image", "HOST/PATH:TAG", repr(image)
        )
    return image


def _check_command(image: str) -> str:
    """Return a shell script that fails if the image lacks Python, ``kfp`` or ``ib_keras``."""
    lacks, rest = shlex.quote(f"ib-keras: the image {image} lacks "), shlex.quote(_EXPECTED + image)
    return (
        f"command -v python3 > /dev/null || {{ echo {lacks}python3{rest} >&2; exit 1; }}\n"
        f"python3 -c {shlex.quote(_PROGRAM)} {lacks} {rest}\n"
    )
