"""Machine types and accelerators of a compiled pipeline's tasks, by component."""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from google.protobuf import json_format
from kfp import dsl

from ib_keras.errors import ArgumentError
from ib_keras.pipelines.spec.image import containers

_KEYS = ("accelerator", "count", "cpu", "memory")
_EXAMPLE = "such as trainer: {accelerator: NVIDIA_L4, count: 1, cpu: 8, memory: 32G}"


def parse(given: str | Iterable[str] | None) -> dict[str, dict[str, Any]]:
    """What was asked for each component.

    Args:
        given: the path of a YAML file, ``component.key=value`` items, or several of both, separated
            by commas or as a list; the later counts.

    Returns:
        Component → ``accelerator``, ``count``, ``cpu``, ``memory``, of which some.

    Raises:
        ArgumentError: a file cannot be read, or an item does not describe a machine.
    """
    items = given.split(",") if isinstance(given, str) else list(given or ())
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        for component, settings in (_item(item) if "=" in item else _file(item)).items():
            found.setdefault(component, {}).update(settings)
    return found


def set_machines(
    spec: Mapping[str, Any],
    machines: Mapping[str, Mapping[str, Any]],
    accelerators: Iterable[str] | None = None,
) -> dict[str, Any]:
    """A specification whose tasks ask for machines.

    Args:
        spec: KFP's intermediate representation; stays as it is.
        machines: by component, as ``parse`` returns.
        accelerators: the names that the engine knows; all are taken if absent.

    Returns:
        The new specification. A component's accelerator, CPUs and memory are those of all its
        tasks.

    Raises:
        ArgumentError: a component, key or accelerator is unknown (the known ones are listed), or a
            value is invalid.
    """
    found = copy.deepcopy(dict(spec))
    known = sorted({component for component, _ in containers(found)})
    for component, settings in machines.items():
        if component not in known:
            raise ArgumentError(
                f"`machines` names the unknown component {component!r}",
                f"one of {known}",
                component,
            )
        resources = _resources(component, settings, accelerators)
        for name, container in containers(found):
            if name == component and resources:
                container["resources"] = resources
    return found


def _item(item: str) -> dict[str, dict[str, Any]]:
    place, _, value = item.partition("=")
    component, dot, key = place.strip().rpartition(".")
    if not dot or not component:
        raise ArgumentError(
            "`machines` has an item without a component",
            "component.key=value, such as trainer.accelerator=NVIDIA_L4, or a YAML file",
            repr(item),
        )
    return {component: {key: value.strip()}}


def _file(path: str) -> dict[str, dict[str, Any]]:
    try:
        read = yaml.safe_load(pathlib.Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArgumentError(
            "`machines` cannot be read", f"a YAML file {_EXAMPLE}, or component.key=value", error
        ) from None
    if not isinstance(read, dict) or not all(isinstance(value, dict) for value in read.values()):
        raise ArgumentError(f"{path!r} is not a table of machines", _EXAMPLE, repr(read))
    return {str(component): settings for component, settings in read.items()}


def _resources(
    component: str, settings: Mapping[str, Any], accelerators: Iterable[str] | None
) -> dict[str, Any]:
    """As KFP itself writes them into a specification."""
    unknown = [key for key in settings if key not in _KEYS]
    if unknown:
        raise ArgumentError(
            f"`machines` of {component} has an unknown key", f"one of {list(_KEYS)}", unknown
        )
    if "count" in settings and "accelerator" not in settings:
        raise ArgumentError(
            f"`machines` of {component} counts no accelerator",
            _EXAMPLE,
            f"count={settings['count']}",
        )
    known = None if accelerators is None else list(accelerators)
    if known is not None and settings.get("accelerator", known[0]) not in known:
        raise ArgumentError(
            f"`machines` of {component} has an unknown accelerator",
            f"one of {known}",
            settings["accelerator"],
        )

    @dsl.container_component
    def task():  # type: ignore[no-untyped-def]
        return dsl.ContainerSpec(image="any", command=["true"])

    def machine():  # type: ignore[no-untyped-def]
        one = task()
        if "accelerator" in settings:
            one.set_accelerator_type(str(settings["accelerator"]))
            one.set_accelerator_limit(str(settings.get("count", 1)))
        if "cpu" in settings:
            one.set_cpu_limit(str(settings["cpu"]))
        if "memory" in settings:
            one.set_memory_limit(str(settings["memory"]))

    try:
        made = dsl.pipeline(machine, name="machine")
    except ValueError as error:
        raise ArgumentError(
            f"`machines` of {component} cannot be had: {error}", _EXAMPLE, dict(settings)
        ) from None
    ((_, container),) = containers(json_format.MessageToDict(made.pipeline_spec))
    return container.get("resources", {})
