"""The command ``ib-keras``: runs or compiles a pipeline."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pathlib
import sys
from typing import Any, get_type_hints

from absl import app, flags

from ib_keras.errors import ArgumentError, IbKerasError

PIPELINES = ("information_plane", "noisy_dnn", "adaptive_estimators", "lossy_compression")
# Longer tables are for the report.
_ROWS = 60
_HELP = """Runs or compiles a pipeline of ib_keras.

  ib-keras --pipeline=information_plane --runner=local
  ib-keras --preset=digits --run_dir=runs/digits
  ib-keras --pipeline=noisy_dnn --preset=szt-quick
  ib-keras --pipeline=adaptive_estimators --preset=quick
  ib-keras --pipeline=lossy_compression --preset=synthetic-quick
  ib-keras --model=my_model.keras --data=my_data.npz --set epochs=50
  ib-keras --runner=compile --output=information_plane.yaml

A parameter or preset that does not exist is answered with those that do:
  ib-keras --set help=
"""

_FLAGS = flags.FLAGS
flags.DEFINE_enum("pipeline", "information_plane", PIPELINES, "What to run.")
flags.DEFINE_enum(
    "runner", "local", ("local", "compile"), "Run here, or write the pipeline as a KFP YAML file."
)
flags.DEFINE_string("preset", None, "Named settings of the pipeline; its defaults if absent.")
flags.DEFINE_multi_string("set", [], "A parameter of the pipeline, as key=value; repeatable.")
flags.DEFINE_string("data", None, "Short for --set data=…: a name, or an .npz or .mat file.")
flags.DEFINE_multi_string(
    "model", [], "Short for --set models=…: a name, a .keras file or module:function; repeatable."
)
flags.DEFINE_string("run_dir", None, "Folder of the results; runs/<pipeline> by default.")
flags.DEFINE_string("output", None, "For --runner=compile: the file to write.")


def main() -> None:
    """Entry point of the command ``ib-keras``."""
    # TensorFlow's start-up messages are no part of the report; what fails is raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # absl shows the help of the module that was started, which is the script of the command.
    sys.modules["__main__"].__doc__ = _HELP
    for flag in _FLAGS.get_key_flags_for_module(_FLAGS.find_module_defining_flag("pipeline")):
        _FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(_main)


def _main(argv: list[str]) -> int:
    try:
        if len(argv) > 1:
            raise ArgumentError("Unknown arguments", "flags only; see --helpshort", argv[1:])
        module = importlib.import_module(f"ib_keras.pipelines.{_FLAGS.pipeline}")
        pipeline = pipeline_of(module, _FLAGS.preset)
        given = parse_settings(pipeline, _FLAGS.set)
        if _FLAGS.data is not None:
            given["data"] = _absolute(_FLAGS.data)
        if _FLAGS.model:
            given["models"] = [_absolute(model) for model in _FLAGS.model]
        settings = {**preset(module, _FLAGS.preset), **given}
        if _FLAGS.runner == "compile":
            return _compile(pipeline, settings)
        return _run(module, pipeline, settings)
    except IbKerasError as error:
        print(f"ib-keras: {error}", file=sys.stderr)
        return 1


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
    function = pipeline.pipeline_func
    hints = get_type_hints(function)
    known = list(inspect.signature(function).parameters)
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
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            raise ArgumentError(
                f"{key} is no {hint.__name__}", f"a value such as {key}={hint(3)}", repr(text)
            ) from None
    if not text.lstrip().startswith("["):
        return [text]
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentError(f"{key} is no JSON list ({error})", '["a", "b"]', text) from None
    return [item if isinstance(item, str) else json.dumps(item) for item in items]


def _absolute(text: str) -> str:
    """A path as absolute, because tasks may run elsewhere; anything else as it is."""
    path = pathlib.Path(text)
    return str(path.resolve()) if path.suffix in (".keras", ".npz", ".mat") else text


def _compile(pipeline: Any, settings: dict[str, Any]) -> int:
    from kfp import compiler

    output = pathlib.Path(_FLAGS.output or f"{_FLAGS.pipeline}.yaml")
    if not output.parent.is_dir():
        raise ArgumentError("`output` is in no folder", "an existing folder", str(output.parent))
    compiler.Compiler().compile(
        pipeline, package_path=str(output), pipeline_parameters=settings or None
    )
    print(f"Wrote {output}")
    return 0


def _run(module: Any, pipeline: Any, settings: dict[str, Any]) -> int:
    check = getattr(module, "check", None)
    if check is not None:
        check(settings)
    from ib_keras.pipelines import local

    folder = local.run(pipeline, settings, _FLAGS.run_dir or f"runs/{_FLAGS.pipeline}")
    _show(folder)
    return 0


def _show(folder: pathlib.Path) -> None:
    import pandas as pd

    import ib_keras

    table = ib_keras.report.last_epoch_table(ib_keras.load(folder))
    if len(table) <= _ROWS:
        print(f"\nLast epoch (nats):\n{table.to_string(float_format='{:.3f}'.format)}")
    findings = folder / "findings.csv"
    if findings.exists():
        print("\nWhat the paper reports, and what was measured:")
        for row in pd.read_csv(findings, keep_default_na=False).to_dict("records"):
            print(f"  {row['finding']} [{' '.join((row['run'], row['layer'])).strip()}]")
            print(f"    paper:    {row['paper']}\n    measured: {row['measured']}")
    print("\nResults:")
    for path in sorted(folder.iterdir(), key=lambda p: (p.suffix != ".html", p.name)):
        if path.suffix in (".html", ".png", ".parquet", ".csv"):
            print(f"  {path.resolve()}")


if __name__ == "__main__":
    main()
