"""The tasks, loops and user files of a compiled pipeline with given arguments."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import importlib.util
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ib_keras.components.artifacts.items import FILES_VARIABLE
from ib_keras.errors import ArgumentError

# The maximum number of artifacts that Vertex AI passes to one task.
MAX_FAN_IN = 100
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclasses.dataclass(frozen=True)
class Task:
    """One execution of a component.

    Args:
        name: name of the task in the pipeline.
        executor: label of its executor in the specification.
        arguments: the arguments that are known before the run.
        planned: whether it stands for all iterations of a loop whose items another task plans, so
            that their number is not known before the run.
    """

    name: str
    executor: str
    arguments: Mapping[str, Any]
    planned: bool = False


def specification(pipeline: Any) -> dict[str, Any]:
    """Return the specification of a compiled pipeline (KFP's intermediate representation).

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``, or a pipeline loaded by
            ``kfp.components``.
    """
    from google.protobuf import json_format

    return json_format.MessageToDict(pipeline.pipeline_spec)


def defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default arguments of a pipeline."""
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return {name: p["defaultValue"] for name, p in declared.items() if "defaultValue" in p}


def tasks(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[Task]:
    """All tasks of a run, one for each iteration of a loop, or one for a loop that is planned.

    Args:
        spec: specification of the pipeline.
        arguments: arguments of the pipeline; missing ones have their defaults.
    """
    return [task for task, _ in _walk(spec, spec["root"]["dag"], {**defaults(spec), **arguments})]


def in_order(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each task's name and executor in execution order; a loop's tasks are listed once.

    Args:
        spec: specification of the pipeline.
    """
    return list(_in_order(spec, spec["root"]["dag"]))


def _in_order(spec: Mapping[str, Any], dag: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    waiting = dict(dag["tasks"])
    while waiting:
        ready = [
            name
            for name, task in waiting.items()
            if waiting.keys().isdisjoint(task.get("dependentTasks", ()))
        ]
        for name in ready:
            component = spec["components"][waiting.pop(name)["componentRef"]["name"]]
            if "dag" in component:
                yield from _in_order(spec, component["dag"])
            else:
                yield name, component["executorLabel"]


def modules(value: Any) -> list[str]:
    """Return the ``module:function`` texts in arguments, including those in JSON.

    Args:
        value: value of a pipeline's parameter, or a mapping of all values.
    """
    return sorted({text for text in texts(value) if _FUNCTION.fullmatch(text)})


def texts(value: Any) -> Iterator[str]:
    """All texts in an argument, including those in JSON.

    Args:
        value: value of a pipeline's parameter, or a mapping of all values.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(json.JSONDecodeError):
            yield from texts(json.loads(value))
    elif isinstance(value, str):
        yield value


def loops(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    """Return the parameters of a pipeline over which its loops iterate.

    Args:
        spec: specification of the pipeline.
        arguments: arguments of the pipeline; missing ones have their defaults.
    """
    values = {**defaults(spec), **arguments}
    looped = {id(items) for _, over in _walk(spec, spec["root"]["dag"], values) for items in over}
    # The walk passes the same list objects on, so that their ids can be compared.
    return [name for name, value in values.items() if id(value) in looped]


def _walk(
    spec: Mapping[str, Any], dag: Mapping[str, Any], known: Mapping[str, Any]
) -> Iterator[tuple[Task, list[Any]]]:
    """All tasks of a graph, each with the lists of the loops that it is in."""
    for name, task in dag["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        inputs = dict(_known(task.get("inputs", {}).get("parameters", {}), known))
        loop = task.get("parameterIterator")
        over: list[Any] = []
        iterations, planned = [inputs], False
        if loop is not None:
            source = loop["items"]
            if "raw" in source:
                over = [json.loads(source["raw"])]
            elif source["inputParameter"] in inputs:
                over = [inputs[source["inputParameter"]]]
            else:
                planned = True
            for items in over:
                iterations = [{**inputs, loop["itemInput"]: item} for item in items]
        for values in iterations:
            if "dag" in component:
                for inner, inner_over in _walk(spec, component["dag"], values):
                    marked = dataclasses.replace(inner, planned=planned or inner.planned)
                    yield marked, over + inner_over
            else:
                declared = component.get("inputDefinitions", {}).get("parameters", {})
                arguments = {key: value for key, value in values.items() if key in declared}
                yield Task(name, component["executorLabel"], arguments), over


def _known(parameters: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, source in parameters.items():
        if "runtimeValue" in source:
            yield name, source["runtimeValue"].get("constant")
        elif source.get("componentInputParameter") in known:
            yield name, known[source["componentInputParameter"]]


def grouped(
    spec: Mapping[str, Any],
    arguments: Mapping[str, Any],
    groups: Iterable[str] = (),
) -> dict[str, Any]:
    """Group the items of long loops, so that one task can collect the results of each loop.

    Args:
        spec: specification of the pipeline.
        arguments: arguments of the pipeline; missing ones have their defaults.
        groups: parameters whose items may be JSON lists of several items. If there are more items
            than ``MAX_FAN_IN``, they are combined into such lists.

    Returns:
        The arguments, and those defaults that were grouped.

    Raises:
        ArgumentError: If a loop over another parameter is too long.
    """
    values = {**defaults(spec), **arguments}
    with_groups = dict(arguments)
    for name in loops(spec, arguments):
        items = values[name]
        if len(items) <= MAX_FAN_IN:
            continue
        if name not in groups:
            raise ArgumentError(
                f"`{name}` has too many items for one task to collect",
                f"at most {MAX_FAN_IN}: split them over several runs",
                f"{len(items)} items",
            )
        size = -(-len(items) // MAX_FAN_IN)
        starts = range(0, len(items), size)
        with_groups[name] = [json.dumps(items[first : first + size]) for first in starts]
    return with_groups


def stamp(spec: dict[str, Any], arguments: Mapping[str, Any]) -> None:
    """Add a fingerprint of the user's files and functions to the environment of their tasks.

    A cache compares the text of a parameter. With the fingerprint, a file whose content has changed
    counts as another input.

    Args:
        spec: specification of the pipeline, which is modified.
        arguments: arguments of the pipeline.
    """
    by_executor: dict[str, set[str]] = {}
    for task in tasks(spec, arguments):
        prints = {p for key, value in task.arguments.items() for p in _fingerprints(key, value)}
        by_executor.setdefault(task.executor, set()).update(prints)
    for label, prints in by_executor.items():
        if prints:
            digest = hashlib.sha256("".join(sorted(prints)).encode()).hexdigest()[:16]
            container = spec["deploymentSpec"]["executors"][label]["container"]
            container.setdefault("env", []).append({"name": FILES_VARIABLE, "value": digest})


def _fingerprints(key: str, value: Any) -> Iterator[str]:
    """Return the fingerprints of the files and functions in an argument, including JSON."""
    for text in texts(value):
        if _FUNCTION.fullmatch(text):
            yield _module_digest(text.partition(":")[0])
        elif files := _files(text, is_data=key == "data"):
            yield _digest(files)


def _files(text: str, is_data: bool) -> list[pathlib.Path]:
    """Return the files that a text names: one file, those of a glob, or those in a data folder."""
    path = pathlib.Path(text)
    if glob.has_magic(text) and ("/" in text or path.suffix):
        # A TensorFlow checkpoint, named by its prefix, consists of several files.
        matches = glob.glob(text, recursive=True) or glob.glob(f"{text}.*", recursive=True)
        return [match for match in map(pathlib.Path, sorted(matches)) if match.is_file()]
    if path.suffix and path.is_file():
        return [path]
    if is_data and path.is_dir():
        return sorted(inner for inner in path.rglob("*") if inner.is_file())
    return []


def _module_digest(name: str) -> str:
    """Return a fingerprint of the source of a module's top-level package."""
    top = importlib.util.find_spec(name.partition(".")[0])
    if top is None or top.origin is None:
        return ""
    origin = pathlib.Path(top.origin)
    if top.submodule_search_locations is None:
        return _digest([origin])
    return _digest(sorted(origin.parent.rglob("*.py")))


def _digest(paths: Iterable[pathlib.Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.as_posix().encode() + b"\0")
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
