"""The parameters and presets of a pipeline: as the command line gives and describes them."""

from __future__ import annotations

import inspect
import json
import pathlib
import re
import textwrap
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from ib_keras.errors import ArgumentError

_WIDTH = 96


def pipeline_of(module: Any, name: str | None) -> Any:
    """The pipeline that a preset is of: that of the module's name, unless the module says another.

    Args:
        module: of ``ib_keras.pipelines``.
        name: of a preset, or ``None``.
    """
    own = getattr(module, module.__name__.rpartition(".")[2])
    return getattr(module, "VARIANTS", {}).get(name, own)


def preset(module: Any, name: str | None) -> dict[str, Any]:
    """The settings of a pipeline's preset.

    Raises:
        ArgumentError: it has no such preset; the known ones are listed.
    """
    if name is None:
        return {}
    if name not in module.PRESETS:
        raise ArgumentError(
            f"The preset {name!r} is unknown", f"one of {list(module.PRESETS)}", name
        )
    return dict(module.PRESETS[name])


def parse_settings(pipeline: Any, settings: list[str]) -> dict[str, Any]:
    """``key=value`` texts as arguments of a pipeline, in the types that it declares.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``.
        settings: the texts. A list is JSON, or a single item.

    Raises:
        ArgumentError: a parameter is unknown (the known ones are listed), or a value is not of its
            type.
    """
    hints = parameters(pipeline)
    known = list(hints)
    parsed: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or key not in known:
            raise ArgumentError(
                f"The parameter {key!r} is unknown" if equals else f"{setting!r} sets nothing",
                f"key=value with one of {known}",
                setting,
            )
        parsed[key] = _parse(key, text, hints[key])
    return parsed


def _parse(key: str, text: str, hint: Any) -> Any:
    if hint is str:
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ArgumentError(f"{key} is not a bool", f"{key}=true or {key}=false", repr(text))
        return text.lower() == "true"
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            raise ArgumentError(
                f"{key} is no {hint.__name__}", f"a value such as {key}={hint(3)}", repr(text)
            ) from None
    kind = (get_args(hint) or (str,))[0]
    if not text.lstrip().startswith("["):
        return [_parse(key, text, kind)]
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{key} is not JSON of a list ({error})", '["a", "b"]', text) from None
    texts = [item if isinstance(item, str) else json.dumps(item) for item in items]
    return [_parse(key, item, kind) for item in texts]


def own_model_and_data(pipeline: Any, models: list[str], data: str | None) -> dict[str, Any]:
    """The user's models and data as arguments of a pipeline.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``.
        models: names, files or functions.
        data: a name or a file.

    Raises:
        ArgumentError: the pipeline has no parameter for them.
    """
    hints = parameters(pipeline)
    given: dict[str, Any] = {}
    if data is not None:
        given[_named(hints, "--data", ("data",), data)] = _absolute(data)
    if models:
        key = _named(hints, "--model", ("models", "model"), models)
        if key == "model" and len(models) > 1:
            raise ArgumentError("--model is repeated", "one model for this pipeline", models)
        paths = [_absolute(model) for model in models]
        given[key] = paths if key == "models" else paths[0]
    return given


def _named(hints: Mapping[str, Any], flag: str, names: tuple[str, ...], value: Any) -> str:
    for name in names:
        if name in hints:
            return name
    raise ArgumentError(
        f"{flag} cannot be given: this pipeline has no parameter `{names[0]}`",
        f"parameters among {list(hints)}",
        f"{flag}={value}",
    )


def parameters(pipeline: Any) -> dict[str, Any]:
    """Name → type of a pipeline's parameters.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``.
    """
    function = pipeline.pipeline_func
    hints = get_type_hints(function)
    return {name: hints[name] for name in inspect.signature(function).parameters}


def _absolute(text: str) -> str:
    """A path as absolute, because tasks may run elsewhere; anything else as it is."""
    if "://" in text or text.lstrip().startswith("{"):
        return text
    path = pathlib.Path(text)
    return str(path.resolve()) if path.suffix and ":" not in text else text


def describe(module: Any, name: str | None = None) -> str:
    """What can be set: parameters with their types, defaults and meaning, and presets, whole.

    Args:
        module: of ``ib_keras.pipelines``.
        name: of a preset, whose values are shown in place of the defaults. Without one, and where
            presets are of several pipelines, the parameters of each are listed.

    Raises:
        ArgumentError: there is no such preset.
    """
    chosen = preset(module, name)
    presets: dict[Any, list[str]] = {pipeline_of(module, None): []}
    for other in module.PRESETS:
        presets.setdefault(pipeline_of(module, other), []).append(other)
    shown = list(presets) if name is None else [pipeline_of(module, name)]
    lines: list[str] = []
    for pipeline in shown:
        which = ""
        if len(presets) > 1:
            alone = "without a preset, or " if pipeline is next(iter(presets)) else ""
            which = f" ({alone}with the presets {', '.join(presets[pipeline])})"
        lines += [*_described(module, pipeline, chosen, which), ""]
    lines.append("Presets, for --preset=name:")
    for other in (other for pipeline in shown for other in presets[pipeline]):
        lines.append(f"  {other}:{'' if module.PRESETS[other] else ' the defaults'}")
        for key, value in module.PRESETS[other].items():
            lines += valued(f"{key}=", value, 6)
    for pipeline in presets.keys() - set(shown):
        lines.append(
            f"Others, with parameters of their own: {', '.join(presets[pipeline])} "
            f"(--preset={presets[pipeline][0]} --describe)"
        )
    return "\n".join(lines)


def _described(module: Any, pipeline: Any, chosen: Mapping[str, Any], which: str) -> list[str]:
    function = pipeline.pipeline_func
    summary, _, documented = inspect.cleandoc(function.__doc__ or "").partition("\nArgs:\n")
    meaning = dict(re.findall(r"^    (\w+): ((?:.*\n?)(?:^     +.*\n?)*)", documented, re.M))
    own = module.__name__.rpartition(".")[2]
    summary = " ".join(f"{own}: {summary}".split())
    lines = [*_wrapped(summary, 0), "", f"Parameters, for --set name=value{which}:"]
    signature = inspect.signature(function).parameters
    for key, hint in parameters(pipeline).items():
        kind = getattr(hint, "__name__", str(hint))
        if items := get_args(hint):
            kind = f"list of {items[0].__name__}"
        lines += _wrapped(f"{key} ({kind}): {' '.join(meaning.get(key, '').split())}", 2)
        default = chosen.get(key, signature[key].default)
        if default is not inspect.Parameter.empty:
            of = "preset" if key in chosen else "default"
            lines += valued(f"{of}: ", default, 6)
    return lines


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 4),
        break_long_words=False,
        break_on_hyphens=False,
    )


def valued(label: str, value: Any, indent: int) -> list[str]:
    """A value as it can be given, on lines; a long list with an item a line.

    Args:
        label: before it.
        value: of a parameter.
        indent: number of blanks before each line.
    """
    if not isinstance(value, list):
        text = value if isinstance(value, str) else json.dumps(value)
        return _wrapped(label + text, indent)
    # Items that are JSON, without quotes in quotes.
    items = [json.dumps(json.loads(v) if str(v).startswith("{") else v) for v in value]
    if indent + len(whole := f"{label}[{', '.join(items)}]") <= _WIDTH:
        return [" " * indent + whole]
    ended = [f"{item}," for item in items[:-1]] + items[-1:]
    inner = [line for item in ended for line in _wrapped(item, indent + 4)]
    return [f"{' ' * indent}{label}[", *inner, f"{' ' * indent}]"]
