"""The output of ``--dry_run``: a summary of a job, and the whole request on demand."""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml

from ib_keras.pipelines import places
from ib_keras.pipelines.settings import valued
from ib_keras.pipelines.spec import graph

STANDARD_OUTPUT = "-"


def check_output(output: str | None) -> None:
    """Check that a request can be written.

    Args:
        output: a file, ``"-"`` for standard output, or ``None``.

    Raises:
        ArgumentError: If ``output`` is a folder, its folder does not exist, or it is not writable.
    """
    if output not in (None, STANDARD_OUTPUT):
        places.check_file(str(output), "a file, or - to print it")


def show(
    request: Mapping[str, Any],
    spec: Mapping[str, Any],
    settings: Mapping[str, Any],
    about: Mapping[str, str],
    output: str | None,
) -> None:
    """Print a summary of a job, and write the request to a file if one is given.

    Args:
        request: the request that would be sent.
        spec: specification of the pipeline, KFP's intermediate representation.
        settings: the arguments that were given.
        about: other properties of the job, by name.
        output: the file to write the request to; ``"-"`` to print the request instead of the
            summary; or ``None``.
    """
    text = yaml.safe_dump(dict(request), sort_keys=False, allow_unicode=True)
    if output == STANDARD_OUTPUT:
        print(text, end="")
        return
    print("\n".join(summary(spec, settings, about)))
    lines = len(text.splitlines())
    if output is None:
        print(f"The whole request, {lines} lines: --output=FILE writes it, --output=- prints it.")
        return
    pathlib.Path(output).write_text(text)
    print(f"Wrote the whole request, {lines} lines, to {output}")


def summary(
    spec: Mapping[str, Any], settings: Mapping[str, Any], about: Mapping[str, str]
) -> list[str]:
    """Return the lines of the summary of a job; see ``show``."""
    names = graph.in_order(spec)
    tasks = graph.tasks(spec, settings)
    count = collections.Counter(task.executor for task in tasks)
    planned = {task.executor for task in tasks if task.planned}
    containers = {
        label: executor["container"]
        for label, executor in spec["deploymentSpec"]["executors"].items()
        if "container" in executor
    }
    images = dict.fromkeys(container["image"] for container in containers.values())
    lines = ["Nothing was submitted. The job would be:"]
    rows = {**about, "image": ", ".join(images)}
    lines += [f"  {name + ':':<12}{text}" for name, text in rows.items()]
    lines.append("  tasks, in their order:")

    def times(label: str) -> str:
        factors = [str(count[label])] if count[label] > 1 else []
        factors += ["shards"] if label in planned else []
        return "".join(f"× {factor} " for factor in factors)

    width = max(len(name) for name, _ in names)
    room = max(6, *(len(times(label)) for _, label in names))
    for name, label in names:
        machine = _machine(containers.get(label, {}))
        lines.append(f"    {name:<{width}} {times(label):<{room}}{machine}")
    lines.append("  parameters given:" + ("" if settings else " none, the defaults are used"))
    lines += [line for name, value in settings.items() for line in valued(f"{name}=", value, 4)]
    return lines + [f"  {line}" for line in hints(settings)]


def hints(settings: Mapping[str, Any]) -> list[str]:
    """Return a line for each module of the user that the image must contain.

    Args:
        settings: the arguments that were given.
    """
    return [
        f"The image must hold the module {text.partition(':')[0]!r}, for {text!r}: see Images in "
        "docs/pipelines.md."
        for text in graph.modules(settings)
    ]


def _machine(container: Mapping[str, Any]) -> str:
    resources = container.get("resources", {})
    parts = []
    if accelerator := resources.get("accelerator"):
        kind = accelerator.get("resourceType") or accelerator.get("type")
        parts.append(f"{accelerator.get('resourceCount') or accelerator.get('count', 1)} {kind}")
    if "cpuLimit" in resources:
        parts.append(f"{resources.get('resourceCpuLimit') or resources['cpuLimit']} CPUs")
    if "memoryLimit" in resources:
        parts.append(f"{resources.get('resourceMemoryLimit') or resources['memoryLimit']} memory")
    return ", ".join(parts) or "the engine's default machine"
