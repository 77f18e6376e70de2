"""What the runners share that submit a pipeline to an engine elsewhere."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from google.protobuf import json_format

from ib_keras.errors import ArgumentError, IbKerasError
from ib_keras.pipelines.spec import image, machines

_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}")
_FILES = (".keras", ".npz", ".mat")


class JobError(IbKerasError, RuntimeError):
    """A job was not accepted, or did not end well."""


def specification(
    pipeline: Any, options: Mapping[str, Any], accelerators: Iterable[str] | None = None
) -> dict[str, Any]:
    """A pipeline's specification with the image and the machines of its tasks.

    Args:
        pipeline: decorated by ``kfp.dsl.pipeline``.
        options: of the command line: ``image`` and ``machines``.
        accelerators: the names that the engine knows; all are taken if absent.

    Raises:
        ArgumentError: one of the options is invalid.
    """
    spec = json_format.MessageToDict(pipeline.pipeline_spec)
    asked = machines.parse(options.get("machines"))
    spec = machines.set_machines(spec, asked, accelerators)
    return image.set_image(spec, options.get("image"))


def arguments(settings: Mapping[str, Any], bucket: str | None = None) -> dict[str, Any]:
    """A pipeline's arguments as tasks elsewhere see them.

    Args:
        settings: the arguments.
        bucket: where the engine mounts Cloud Storage (``"/gcs/"``); ``gs://`` paths become paths
            of files there.

    Raises:
        ArgumentError: one of them is a file of this machine.
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        items = [_item(key, v, bucket) for v in (value if isinstance(value, list) else [value])]
        found[key] = items if isinstance(value, list) else items[0]
    return found


def _item(key: str, value: Any, bucket: str | None) -> Any:
    if not isinstance(value, str):
        return value
    if bucket is not None:
        value = value.replace("gs://", bucket)
    path = pathlib.Path(value)
    mounted = bucket is not None and value.startswith(bucket)
    far = "://" in value
    if path.suffix in _FILES and not mounted and (path.is_absolute() or path.is_file() or far):
        raise ArgumentError(
            f"`{key}` is a file in a bucket, which the tasks do not see"
            if far
            else f"`{key}` is a file of this machine, which the tasks do not see",
            "a path in a bucket that they can read: gcloud storage cp FILE gs://BUCKET/, then "
            f"--set {key}=gs://BUCKET/{path.name}"
            if bucket is not None
            else "a path in the image, or a name",
            repr(value),
        )
    return value


def labels(items: Iterable[str] | None) -> dict[str, str]:
    """``key=value`` texts as labels.

    Args:
        items: the texts; lower-case letters, digits, ``_`` and ``-``, as Google Cloud wants them.

    Raises:
        ArgumentError: one of them is not a label.
    """
    found = {}
    for item in items or ():
        if not _LABEL.fullmatch(item):
            raise ArgumentError(
                "`labels` has an item that is not a label",
                "key=value in lower-case letters, digits, _ and -, at most 63 of them, the key "
                "beginning with a letter",
                repr(item),
            )
        key, _, found_value = item.partition("=")
        found[key] = found_value
    return found


def required(options: Mapping[str, Any], name: str, expected: str) -> str:
    """An option that must be there.

    Raises:
        ArgumentError: it is not.
    """
    value = options.get(name)
    if not value:
        raise ArgumentError(f"`{name}` is missing", expected, f"no --{name}")
    return value


@contextlib.contextmanager
def written(spec: Mapping[str, Any]) -> Iterator[str]:
    """The path of a temporary YAML file with a specification.

    Args:
        spec: KFP's intermediate representation.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pipeline.yaml")
        pathlib.Path(path).write_text(yaml.safe_dump(dict(spec), sort_keys=False))
        yield path


class Progress:
    """Prints a line whenever a task or the job comes into another state."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._states: dict[object, str] = {}

    def show(self, key: object, name: str, state: str) -> None:
        """Takes note of a state.

        Args:
            key: of the task; in a loop, several have one name.
            name: of the task.
            state: of the task.
        """
        if self._states.get(key) == state:
            return
        self._states[key] = state
        minutes, seconds = divmod(int(time.monotonic() - self._begin), 60)
        print(f"[{minutes:02d}:{seconds:02d}] {name} {state}", flush=True)
