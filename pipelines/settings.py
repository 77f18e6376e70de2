"""The parameters and presets of a pipeline: parsing and describing them."""

from __future__ import annotations

import inspect
import json
import os
import pathlib
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_type_hints

from ib_keras import datasets
from ib_keras.errors import ArgumentError

_WIDTH = 96


def pipeline_of(module: Any, name: str | None) -> Any:
    """Return a preset's pipeline: the one with the module's name, or that in ``VARIANTS``.

    Args:
        module: a module of ``ib_keras.pipelines``.
        name: name of a preset, or ``None``.
    """
    default = getattr(module, module.__name__.rpartition(".")[2])
    return getattr(module, "VARIANTS", {}).get(name, default)


# The parameters that a model's JSON may have, too.
OF_TRAINING = ("recipe", "learning_rate")


def preset(module: Any, name: str | None) -> dict[str, Any]:
    """Return the settings of a pipeline's preset.

    Raises:
        ArgumentError: If the preset is unknown.
    """
    if name is None:
        return {}
    if name not in module.PRESETS:
        raise ArgumentError(
            f"The preset {name!r} is unknown", f"one of {list(module.PRESETS)}", name
        )
    return dict(module.PRESETS[name])


def parse_settings(
    pipeline: Any, settings: list[str], start: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Parse ``key=value`` texts into arguments of a pipeline, with their declared types.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``.
        settings: the texts. The value of a list is JSON, or a single item. ``key.name=value`` sets
            one value of a parameter that is a JSON object. A recipe or learning rate also changes
            those of a preset's models.
        start: the settings of a preset, in which such values are set.

    Raises:
        ArgumentError: If a parameter is unknown, or a value does not have the declared type.
    """
    hints = parameters(pipeline)
    parsed: dict[str, Any] = {}
    of_models: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        outer, dot, inner = key.partition(".")
        if equals and dot and inner and hints.get(outer) is str:
            before = {**_defaults(pipeline), **(start or {}), **parsed}[outer]
            parsed[outer] = _with_value(setting, before, inner, text)
            if outer in OF_TRAINING and of_models.setdefault(outer, {}) is not None:
                of_models[outer][inner] = json.loads(parsed[outer])[inner]
            continue
        if not equals or key not in hints:
            raise ArgumentError(
                f"The parameter {key!r} is unknown" if equals else f"{setting!r} has no value",
                f"key=value with one of {list(hints)}",
                setting,
            )
        parsed[key] = parse_value(key, text, hints[key])
        if key in OF_TRAINING:
            of_models[key] = None
    if of_models and "models" not in parsed and "models" in (start or {}):
        parsed["models"] = [_of_model(model, of_models) for model in (start or {})["models"]]
    return parsed


def _of_model(identifier: str, changes: Mapping[str, Any]) -> str:
    """Change values in the JSON of a model that has them; ``None`` removes one."""
    if not identifier.lstrip().startswith("{"):
        return identifier
    content = json.loads(identifier)
    for key in content.keys() & changes.keys():
        if changes[key] is None:
            del content[key]
        else:
            content[key] = {**content[key], **changes[key]}
    return json.dumps(content)


def _defaults(pipeline: Any) -> dict[str, Any]:
    signature = inspect.signature(pipeline.pipeline_func)
    return {name: parameter.default for name, parameter in signature.parameters.items()}


def _with_value(setting: str, before: Any, name: str, text: str) -> str:
    """Return the JSON object ``before`` with one other value; ``text`` is JSON, or else a text."""
    try:
        content = json.loads(before)
    except (ValueError, TypeError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ArgumentError(
            f"{setting!r} sets a value of a parameter that is no JSON object",
            f"{setting.partition('.')[0]}=value",
            repr(before),
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return json.dumps({**content, name: value})


def parse_value(key: str, text: str, hint: Any) -> Any:
    """Return the value of a parameter of the type ``hint`` from the text of ``key=text``."""
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
                f"{key} is not {'an int' if hint is int else 'a float'}",
                f"a value such as {key}={hint(3)}",
                repr(text),
            ) from None
    kind = (get_args(hint) or (str,))[0]
    if not text.lstrip().startswith("["):
        return [parse_value(key, text, kind)]
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{key} is not a JSON list ({error})", '["a", "b"]', text) from None
    texts = [item if isinstance(item, str) else json.dumps(item) for item in items]
    return [parse_value(key, item, kind) for item in texts]


def own_model_and_data(
    pipeline: Any, models: list[str], data: str | None, checkpoints: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the arguments for the flags ``--model``, ``--data`` and ``--checkpoints``.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``.
        models: names, files or functions. With checkpoints, at most one, which has their layers.
        data: a name, a file or a folder.
        checkpoints: globs of the checkpoints of a training; each becomes one model.

    Raises:
        ArgumentError: If the pipeline has no such parameter, or there are several models for
            checkpoints.
    """
    hints = parameters(pipeline)
    arguments: dict[str, Any] = {}
    if data is not None:
        is_folder = data not in datasets.names() and os.path.isdir(data)
        arguments["data"] = _absolute(data, is_path=is_folder)
    if models:
        arguments["models"] = [_with_absolute_paths(model) for model in models]
    if checkpoints:
        if len(models) > 1:
            raise ArgumentError(
                "--checkpoints are of one network", "at most one --model", f"--model={models}"
            )
        arguments["models"] = [_with(one, *arguments.get("models", ())) for one in checkpoints]
    flags = (("data", "--data", data), ("models", "--checkpoints", checkpoints),
             ("models", "--model", models))  # fmt: skip
    for key, flag, value in flags:
        if value and key not in hints:
            raise ArgumentError(
                f"{flag} cannot be given: this pipeline has no parameter `{key}`",
                f"parameters among {list(hints)}",
                f"{flag}={value}",
            )
    return arguments


def _with(checkpoints: str, model: str | None = None) -> str:
    """Return the JSON of a model with checkpoints."""
    content = _parsed(model) if model is not None and _is_json(model) else {"name": model}
    if content is None:
        raise ArgumentError(
            "The model's JSON does not parse", 'JSON such as {"name": "mlp"}', model
        )
    named = {key: value for key, value in content.items() if value is not None}
    return json.dumps({**named, "checkpoints": _absolute(checkpoints, is_path=True)})


def _with_absolute_paths(model: str) -> str:
    """Make the paths of a model absolute, also those in its JSON."""
    if not _is_json(model):
        return _absolute(model)
    content = _parsed(model)
    if content is None:  # the check of the model says so
        return model
    changed = {
        key: _absolute(content[key], is_path=key != "name")
        for key in ("name", "checkpoints", "logs")
        if isinstance(content.get(key), str)
    }
    return model if changed.items() <= content.items() else json.dumps({**content, **changed})


def _is_json(model: str) -> bool:
    return model.lstrip().startswith("{")


def _parsed(model: str) -> dict[str, Any] | None:
    try:
        return json.loads(model)
    except (ValueError, RecursionError):
        return None


def parameters(pipeline: Any) -> dict[str, Any]:
    """Return the names and types of a pipeline's parameters.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``.
    """
    function = pipeline.pipeline_func
    hints = get_type_hints(function)
    return {name: hints[name] for name in inspect.signature(function).parameters}


def _absolute(text: str, is_path: bool = False) -> str:
    """Make a path absolute, because tasks run in other folders; other texts are unchanged."""
    if "://" in text:
        return text
    path = pathlib.Path(os.path.expanduser(text))
    return str(path.resolve()) if is_path or (path.suffix and ":" not in text) else text


def describe(module: Any, name: str | None = None) -> str:
    """Describe the parameters (type, default, meaning) and presets of a pipeline.

    Args:
        module: a module of ``ib_keras.pipelines``.
        name: name of a preset whose values are shown in place of the defaults. Without one, the
            parameters of all pipelines of the module are described.

    Raises:
        ArgumentError: If the preset is unknown.
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
        lines += _wrapped(
            f"Presets with other parameters: {', '.join(presets[pipeline])} "
            f"(--preset={presets[pipeline][0]} --describe)",
            0,
        )
    return "\n".join(lines)


def _described(module: Any, pipeline: Any, chosen: Mapping[str, Any], which: str) -> list[str]:
    function = pipeline.pipeline_func
    summary, _, documented = inspect.cleandoc(function.__doc__ or "").partition("\nArgs:\n")
    meaning = dict(re.findall(r"^    (\w+): ((?:.*\n?)(?:^     +.*\n?)*)", documented, re.M))
    title = module.__name__.rpartition(".")[2]
    summary = " ".join(f"{title}: {summary}".split())
    lines = [*_wrapped(summary, 0), "", *_wrapped(f"Parameters, for --set name=value{which}:", 0)]
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
        text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 4),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def valued(label: str, value: Any, indent: int) -> list[str]:
    """Return a value's lines as the command line accepts it; long lists have an item per line.

    Args:
        label: text before the value.
        value: value of a parameter.
        indent: number of spaces before each line.
    """
    if not isinstance(value, list):
        text = value if isinstance(value, str) else json.dumps(value)
        return _wrapped(label + text, indent)
    # Items that are JSON objects are shown without another layer of quotes.
    items = [json.dumps(json.loads(v) if str(v).startswith("{") else v) for v in value]
    if indent + len(whole := f"{label}[{', '.join(items)}]") <= _WIDTH:
        return [" " * indent + whole]
    ended = [f"{item}," for item in items[:-1]] + items[-1:]
    inner = [line for item in ended for line in _wrapped(item, indent + 4)]
    return [f"{' ' * indent}{label}[", *inner, f"{' ' * indent}]"]
