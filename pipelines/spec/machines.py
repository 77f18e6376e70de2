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
_EXAMPLE = "settings such as trainer: {accelerator: NVIDIA_L4, count: 1, cpu: 8, memory: 32G}"


def parse(texts: str | Iterable[str] | None) -> dict[str, dict[str, Any]]:
    """Parse the machine settings of each component.

    Args:
        texts: paths of YAML files and ``component.key=value`` items, as a list or separated by
            commas; later settings override earlier ones.

    Returns:
        A dictionary from components to settings with some of the keys ``accelerator``, ``count``,
        ``cpu`` and ``memory``.

    Raises:
        ArgumentError: If a file cannot be read, or an item does not describe a machine.
    """
    items = texts.split(",") if isinstance(texts, str) else list(texts or ())
    machines: dict[str, dict[str, Any]] = {}
    for item in items:
        for component, settings in (_item(item) if "=" in item else _file(item)).items():
            machines.setdefault(component, {}).update(settings)
    return machines


def set_machines(
    spec: Mapping[str, Any],
    machines: Mapping[str, Mapping[str, Any]],
    accelerators: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Return a specification whose tasks request machines.

    Args:
        spec: KFP's intermediate representation; it is not modified.
        machines: the settings of each component, as ``parse`` returns them.
        accelerators: the accelerators that the engine has; ``None`` accepts any name.

    Returns:
        The new specification. All tasks of a component have the same accelerator, CPUs and memory.

    Raises:
        ArgumentError: If a component, key or accelerator is unknown, or a value is invalid.
    """
    with_machines = copy.deepcopy(dict(spec))
    known = sorted({component for component, _ in containers(with_machines)})
    for component, settings in machines.items():
        if component not in known:
            raise ArgumentError(
                f"`machines` names the unknown component {component!r}",
                f"one of {known}",
                component,
            )
        resources = _resources(component, settings, accelerators)
        for name, container in containers(with_machines):
            if name == component and resources:
                container["resources"] = resources
    return with_machines


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
        content = yaml.safe_load(pathlib.Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArgumentError(
            "`machines` cannot be read",
            f"a YAML file with {_EXAMPLE}, or component.key=value",
            error,
        ) from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise ArgumentError(f"{path!r} is not a table of machines", _EXAMPLE, repr(content))
    return {str(component): settings for component, settings in content.items()}


def _resources(
    component: str, settings: Mapping[str, Any], accelerators: Iterable[str] | None
) -> dict[str, Any]:
    """Return the entry for a machine in a specification, as KFP itself compiles it."""
    unknown = [key for key in settings if key not in _KEYS]
    if unknown:
        raise ArgumentError(
            f"`machines` of {component} has an unknown key", f"one of {list(_KEYS)}", unknown
        )
    if "count" in settings and "accelerator" not in settings:
        raise ArgumentError(
            f"`machines` of {component} has a count without an accelerator",
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
        requested = task()
        if "accelerator" in settings:
            requested.set_accelerator_type(str(settings["accelerator"]))
            requested.set_accelerator_limit(str(settings.get("count", 1)))
        if "cpu" in settings:
            requested.set_cpu_limit(str(settings["cpu"]))
        if "memory" in settings:
            requested.set_memory_limit(str(settings["memory"]))

    try:
        pipeline = dsl.pipeline(machine, name="machine")
    except ValueError as error:
        raise ArgumentError(
            f"`machines` of {component} is invalid: {error}", _EXAMPLE, dict(settings)
        ) from None
    ((_, container),) = containers(json_format.MessageToDict(pipeline.pipeline_spec))
    return container.get("resources", {})
