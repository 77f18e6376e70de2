"""What ``--dry_run`` shows of a job: a summary, and the whole request where it is asked for."""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml

from ib_keras.errors import ArgumentError
from ib_keras.pipelines.settings import valued
from ib_keras.pipelines.spec import graph

STANDARD_OUTPUT = "-"


def check_output(output: str | None) -> None:
    """Raises unless a request could be written.

    Args:
        output: a file, ``"-"`` for standard output, or ``None``.

    Raises:
        ArgumentError: the file would be in no folder, or is one.
    """
    if output in (None, STANDARD_OUTPUT):
        return
    path = pathlib.Path(str(output))
    if not path.parent.is_dir() or path.is_dir():
        raise ArgumentError(
            "`output` is not a file in a folder", "a file, or - to print it", output
        )


def show(
    request: Mapping[str, Any],
    spec: Mapping[str, Any],
    settings: Mapping[str, Any],
    about: Mapping[str, str],
    output: str | None,
) -> None:
    """Prints a summary of a job, or with ``output="-"`` the request alone; writes it to a file.

    Args:
        request: what would be sent.
        spec: of the pipeline, KFP's intermediate representation.
        settings: the arguments that are given.
        about: what else is known of the job: name → text.
        output: a file, ``"-"`` for standard output, or ``None``.
    """
    whole = yaml.safe_dump(dict(request), sort_keys=False, allow_unicode=True)
    if output == STANDARD_OUTPUT:
        print(whole, end="")
        return
    print("\n".join(summary(spec, settings, about)))
    lines = len(whole.splitlines())
    if output is None:
        print(f"The whole request, {lines} lines: --output=FILE writes it, --output=- prints it.")
        return
    pathlib.Path(output).write_text(whole)
    print(f"Wrote the whole request, {lines} lines, to {output}")


def summary(
    spec: Mapping[str, Any], settings: Mapping[str, Any], about: Mapping[str, str]
) -> list[str]:
    """The lines of the summary; see ``show``."""
    names = graph.in_order(spec)
    count = collections.Counter(task.executor for task in graph.tasks(spec, settings))
    containers = {
        label: executor["container"]
        for label, executor in spec["deploymentSpec"]["executors"].items()
        if "container" in executor
    }
    images = dict.fromkeys(container["image"] for container in containers.values())
    lines = ["Nothing was submitted. What would be:"]
    rows = {**about, "image": ", ".join(images)}
    lines += [f"  {name + ':':<12}{text}" for name, text in rows.items()]
    lines.append("  tasks, in their order:")
    width = max(len(name) for name, _ in names)
    for name, label in names:
        times = f"× {count[label]}" if count[label] > 1 else ""
        lines.append(f"    {name:<{width}} {times:<5} {_machine(containers.get(label, {}))}")
    lines.append("  parameters given:" + ("" if settings else " none, the defaults hold"))
    lines += [line for name, value in settings.items() for line in valued(f"{name}=", value, 4)]
    return lines + [f"  {line}" for line in hints(settings)]


def hints(settings: Mapping[str, Any]) -> list[str]:
    """What the image must have for the arguments: a line for each module of the user's.

    Args:
        settings: the arguments that are given.
    """
    return [
        f"The image must hold the module {text.partition(':')[0]!r}, for {text!r}: see Images in "
        "docs/pipelines.md."
        for text in graph.modules(settings)
    ]


def _machine(container: Mapping[str, Any]) -> str:
    found = container.get("resources", {})
    parts = []
    if accelerator := found.get("accelerator"):
        kind = accelerator.get("resourceType") or accelerator.get("type")
        parts.append(f"{accelerator.get('resourceCount') or accelerator.get('count', 1)} {kind}")
    if "cpuLimit" in found:
        parts.append(f"{found.get('resourceCpuLimit') or found['cpuLimit']} CPUs")
    if "memoryLimit" in found:
        parts.append(f"{found.get('resourceMemoryLimit') or found['memoryLimit']} memory")
    return ", ".join(parts) or "the engine's default machine"
