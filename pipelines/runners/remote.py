"""Shared by the runners that submit a pipeline to a remote engine."""

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

from ib_keras.errors import ArgumentError, IbKerasError
from ib_keras.pipelines.runners.progress import clock
from ib_keras.pipelines.spec import graph, image, machines
from ib_keras.storage import checkpoint_files, data_files

_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}")
_FILES = (".keras", *checkpoint_files.HDF5, *data_files.SUFFIXES)


class JobError(IbKerasError, RuntimeError):
    """A job was not accepted, or failed."""


def specification(
    pipeline: Any, options: Mapping[str, Any], accelerators: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return the specification of a pipeline, with the image and the machines of its tasks.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``.
        options: options of the command line; ``image`` and ``machines`` are used.
        accelerators: the accelerators that the engine has; ``None`` accepts any name.

    Raises:
        ArgumentError: If one of the options is invalid.
    """
    requested = machines.parse(options.get("machines"))
    spec = machines.set_machines(graph.specification(pipeline), requested, accelerators)
    return image.set_image(spec, options.get("image"))


def arguments(settings: Mapping[str, Any], bucket: str | None = None) -> dict[str, Any]:
    """Return the arguments of a pipeline as its remote tasks see them.

    Args:
        settings: the arguments.
        bucket: the folder where the engine mounts Cloud Storage (``"/gcs/"``), which replaces
            ``gs://`` in paths; ``None`` if it mounts none.

    Raises:
        ArgumentError: If an argument is a file that the tasks cannot read.
    """
    return {
        key: [_item(key, v, bucket) for v in value]
        if isinstance(value, list)
        else _item(key, value, bucket)
        for key, value in settings.items()
    }


def _item(key: str, value: Any, bucket: str | None) -> Any:
    if not isinstance(value, str):
        return value
    if bucket is not None:
        value = value.replace("gs://", bucket)
    for text in graph.texts(value):
        _check_readable(key, text, bucket)
    return value


def _check_readable(key: str, text: str, bucket: str | None) -> None:
    """Check that a text is not a file or folder that remote tasks cannot read."""
    path, remote = pathlib.Path(text), "://" in text
    is_file = text.endswith(_FILES) and (path.is_absolute() or path.is_file() or remote)
    is_folder = key == "data" and not is_file and (remote or (path.is_absolute() and path.is_dir()))
    if (bucket is not None and text.startswith(bucket)) or not (is_file or is_folder):
        return
    kind, copied = ("file", "FILE") if is_file else ("folder", "-r FOLDER")
    raise ArgumentError(
        f"`{key}` is a {kind} {'in a bucket' if remote else 'of this machine'}, which the tasks "
        "cannot read",
        f"a path in a bucket that they can read: gcloud storage cp {copied} gs://BUCKET/, then "
        f"--set {key}=gs://BUCKET/{path.name}"
        if bucket is not None
        else "a path in the image, or a name",
        repr(text),
    )


def labels(items: Iterable[str] | None) -> dict[str, str]:
    """Parse ``key=value`` texts into labels.

    Args:
        items: the texts, in lower-case letters, digits, ``_`` and ``-``, as Google Cloud requires.

    Raises:
        ArgumentError: If an item is not a label.
    """
    items = list(items or ())
    for item in items:
        if not _LABEL.fullmatch(item):
            raise ArgumentError(
                "`labels` has an item that is not a label",
                "key=value in lower-case letters, digits, _ and -, with at most 63 characters each "
                "and a letter at the start of the key",
                repr(item),
            )
    return dict(item.split("=") for item in items)


def required(options: Mapping[str, Any], name: str, expected: str) -> str:
    """Return the value of a required option.

    Raises:
        ArgumentError: If the option is missing.
    """
    value = options.get(name)
    if not value:
        raise ArgumentError(f"`{name}` is missing", expected, f"no --{name}")
    return value


@contextlib.contextmanager
def written(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the path of a temporary YAML file with a specification.

    Args:
        spec: KFP's intermediate representation.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pipeline.yaml")
        pathlib.Path(path).write_text(yaml.safe_dump(dict(spec), sort_keys=False))
        yield path


class Progress:
    """Prints a line whenever the state of a task or of the job changes."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._states: dict[object, str] = {}

    def show(self, key: object, name: str, state: str) -> None:
        """Print a state, if it has changed.

        Args:
            key: identifies the task; the tasks of a loop share a name.
            name: name of the task.
            state: state of the task.
        """
        if self._states.get(key) != state:
            self._states[key] = state
            print(f"{clock(self._begin)} {name} {state}", flush=True)
