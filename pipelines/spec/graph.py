"""What a compiled pipeline will do with its arguments: its tasks, its loops, its users' files."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ib_keras.errors import ArgumentError

# Vertex AI hands a task no more artifacts than this.
MAX_FAN_IN = 100
FILES_VARIABLE = "IB_KERAS_FILES"
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclasses.dataclass(frozen=True)
class Task:
    """One execution of a component.

    Args:
        name: in the pipeline.
        executor: its label in the specification.
        arguments: those parameters that are known before the run.
    """

    name: str
    executor: str
    arguments: Mapping[str, Any]


def specification(pipeline: Any) -> dict[str, Any]:
    """A compiled pipeline's specification (KFP's intermediate representation).

    Args:
        pipeline: decorated by ``kfp.dsl.pipeline``, or loaded by ``kfp.components``.
    """
    from google.protobuf import json_format

    return json_format.MessageToDict(pipeline.pipeline_spec)


def defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a pipeline that are not given."""
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return {name: p["defaultValue"] for name, p in declared.items() if "defaultValue" in p}


def tasks(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[Task]:
    """All tasks of a run, loops counted out.

    Args:
        spec: of the pipeline.
        arguments: of the pipeline; those that are not given have their defaults.
    """
    return [task for task, _ in _walk(spec, spec["root"]["dag"], {**defaults(spec), **arguments})]


def in_order(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The name and the executor of each task, loops not counted out, none before what it waits for.

    Args:
        spec: of a pipeline.
    """
    return list(_in_order(spec, spec["root"]["dag"]))


def _in_order(spec: Mapping[str, Any], dag: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    left = dict(dag["tasks"])
    while left:
        ready = [
            name
            for name, task in left.items()
            if left.keys().isdisjoint(task.get("dependentTasks", ()))
        ]
        for name in ready:
            component = spec["components"][left.pop(name)["componentRef"]["name"]]
            if "dag" in component:
                yield from _in_order(spec, component["dag"])
            else:
                yield name, component["executorLabel"]


def modules(value: Any) -> list[str]:
    """The ``module:function`` texts in an argument, as such or in its JSON.

    Args:
        value: of a pipeline's parameter, or all of them.
    """
    return sorted({text for text in _texts(value) if _FUNCTION.fullmatch(text)})


def _texts(value: Any) -> Iterator[str]:
    """All texts in an argument, also those in its JSON."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(json.JSONDecodeError):
            yield from _texts(json.loads(value))
    elif isinstance(value, str):
        yield value


def loops(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    """The pipeline's parameters that its loops run over.

    Args:
        spec: of the pipeline.
        arguments: of the pipeline; those that are not given have their defaults.
    """
    given = {**defaults(spec), **arguments}
    walked = {id(items) for _, over in _walk(spec, spec["root"]["dag"], given) for items in over}
    # The walk hands on the very lists that it was given.
    return [name for name, value in given.items() if id(value) in walked]


def _walk(
    spec: Mapping[str, Any], dag: Mapping[str, Any], known: Mapping[str, Any]
) -> Iterator[tuple[Task, list[Any]]]:
    for name, task in dag["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        given = dict(_known(task.get("inputs", {}).get("parameters", {}), known))
        loop = task.get("parameterIterator")
        over: list[Any] = []
        rounds = [given]
        if loop is not None:
            source = loop["items"]
            items = given.get(source.get("inputParameter"), json.loads(source.get("raw", "[null]")))
            over = [items]
            rounds = [{**given, loop["itemInput"]: item} for item in items]
        for values in rounds:
            if "dag" in component:
                for inner, inner_over in _walk(spec, component["dag"], values):
                    yield inner, over + inner_over
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
    limit: int = MAX_FAN_IN,
) -> dict[str, Any]:
    """Arguments with which no loop has more items than one task may collect.

    Args:
        spec: of the pipeline.
        arguments: of the pipeline; those that are not given have their defaults.
        groups: parameters of which a task takes several items, as a JSON list: that many items of
            them are put into one, that no loop is longer than the limit.
        limit: number of items.

    Returns:
        The arguments; those that were grouped are among them, also where they were defaults.

    Raises:
        ArgumentError: a loop over another parameter is too long.
    """
    found = dict(arguments)
    for name in loops(spec, arguments):
        values = {**defaults(spec), **arguments}[name]
        if len(values) <= limit:
            continue
        if name not in groups:
            raise ArgumentError(
                f"`{name}` has too many items for one task to collect",
                f"at most {limit}: split them over several runs",
                f"{len(values)} items",
            )
        size = -(-len(values) // limit)
        found[name] = [
            json.dumps(values[first : first + size]) for first in range(0, len(values), size)
        ]
    return found


def stamp(spec: dict[str, Any], arguments: Mapping[str, Any]) -> None:
    """Puts a fingerprint of the user's files and functions into the environment of their tasks.

    Caches see a parameter's text: with this, a file of the same name with another content is
    another input.

    Args:
        spec: of the pipeline, is changed.
        arguments: of the pipeline.
    """
    found: dict[str, set[str]] = {}
    for task in tasks(spec, arguments):
        prints = {p for value in task.arguments.values() for p in _fingerprints(value)}
        found.setdefault(task.executor, set()).update(prints)
    for label, prints in found.items():
        if prints:
            digest = hashlib.sha256("".join(sorted(prints)).encode()).hexdigest()[:16]
            container = spec["deploymentSpec"]["executors"][label]["container"]
            container.setdefault("env", []).append({"name": FILES_VARIABLE, "value": digest})


def _fingerprints(value: Any) -> Iterator[str]:
    """Of all files and functions that an argument names, as such or in its JSON."""
    for text in _texts(value):
        if _FUNCTION.fullmatch(text):
            yield _of_module(text.partition(":")[0])
        elif pathlib.Path(text).suffix and pathlib.Path(text).is_file():
            yield _digest([pathlib.Path(text)])


def _of_module(name: str) -> str:
    """Of a module's source, and of the whole package that it is in."""
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
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
