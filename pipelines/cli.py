"""The command ``ib-keras``: runs, compiles or submits a pipeline."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import inspect
import multiprocessing
import os
import pathlib
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from absl import app, flags

from ib_keras.errors import ArgumentError, IbKerasError
from ib_keras.pipelines.settings import (
    describe,
    own_model_and_data,
    parse_settings,
    pipeline_of,
    preset,
)

PIPELINES = (
    "information_plane",
    "noisy_dnn",
    "adaptive_estimators",
    "lossy_compression",
    "resnet_decoder",
)
RUNNERS = ("local", "compile", "vertex", "kubeflow")
# Longer tables are for the report.
_ROWS = 60
_HELP = """Runs a pipeline of ib_keras on this machine, compiles it, or submits it.

  ib-keras --pipeline=information_plane --runner=local
  ib-keras --preset=digits --run_dir=runs/digits
  ib-keras --pipeline=noisy_dnn --preset=szt-quick
  ib-keras --model=my_model.keras --data=my_data.npz --set epochs=50
  ib-keras --pipeline=lossy_compression --describe
  ib-keras --runner=compile --output=information_plane.yaml
  ib-keras --runner=vertex --project=my-project --region=europe-west4 \\
      --pipeline_root=gs://my-bucket/root --image=IMAGE --dry_run

The same command again runs only what has changed or is missing.
"""

_FLAGS = flags.FLAGS
flags.DEFINE_string("pipeline", "information_plane", f"One of {', '.join(PIPELINES)}.")
flags.DEFINE_string(
    "runner", "local", "local: here. compile: write a KFP YAML file. vertex, kubeflow: submit."
)
flags.DEFINE_string("preset", None, "Named settings of the pipeline; its defaults if absent.")
flags.DEFINE_multi_string("set", [], "A parameter of the pipeline, as key=value.")
flags.DEFINE_bool("describe", False, "List the pipeline's parameters and presets, and stop.")
flags.DEFINE_string("data", None, "Short for --set data=…: a name, or an .npz or .mat file.")
flags.DEFINE_multi_string(
    "model", [], "Short for --set models=…: a name, a .keras file or module:function."
)
flags.DEFINE_bool("enable_caching", True, "Do not run again what has not changed.")
flags.DEFINE_string("run_dir", None, "[local] Folder of the results; runs/<pipeline> by default.")
flags.DEFINE_string(
    "output", None,
    "[compile] The file to write; <pipeline>.yaml by default. With --dry_run: a file for the whole "
    "request, or - to print it.",
)  # fmt: skip

# What the remote runners are given. Their modules are imported when they are asked for.
flags.DEFINE_string("project", None, "[vertex] The project's id.")
flags.DEFINE_string("region", None, "[vertex] Such as europe-west4.")
flags.DEFINE_string("pipeline_root", None, "[vertex, kubeflow] gs://… folder of what tasks write.")
flags.DEFINE_string("image", None, "[vertex, kubeflow] The container image of all tasks.")
flags.DEFINE_string("service_account", None, "[vertex, kubeflow] The account that tasks run as.")
flags.DEFINE_string("network", None, "[vertex] A VPC network, by its full name.")
flags.DEFINE_list("labels", [], "[vertex] key=value,…: labels of the job.")
flags.DEFINE_string("machines", None, "[vertex, kubeflow] YAML file: machine types by component.")
flags.DEFINE_bool("wait", False, "[vertex, kubeflow] Follow the job to its end.")
flags.DEFINE_bool("dry_run", False, "[vertex, kubeflow] Print a summary, and stop.")
flags.DEFINE_string("fetch", None, "[vertex] Name of a finished job whose estimates to fetch.")
flags.DEFINE_string("host", None, "[kubeflow] Address of the Kubeflow Pipelines server.")
REMOTE = (
    "project", "region", "pipeline_root", "image", "service_account", "network", "enable_caching",
    "labels", "machines", "wait", "dry_run", "output", "fetch", "host", "run_dir",
)  # fmt: skip


def main() -> None:
    """Entry point of the command ``ib-keras``."""
    # As for `python -m`, and as for the tasks: module:function may be in this folder.
    sys.path.append(os.getcwd())
    # absl shows the help of the module that was started, which is the script of the command.
    sys.modules["__main__"].__doc__ = _HELP
    for flag in _FLAGS.get_key_flags_for_module(_FLAGS.find_module_defining_flag("pipeline")):
        _FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(_main)


def _main(argv: list[str]) -> int:
    try:
        if len(argv) > 1:
            raise ArgumentError("Unknown arguments", "flags only; see --helpshort", argv[1:])
        for name, known in (("pipeline", PIPELINES), ("runner", RUNNERS)):
            if _FLAGS[name].value not in known:
                raise ArgumentError(
                    f"The {name} {_FLAGS[name].value!r} is unknown",
                    f"one of {list(known)}",
                    f"--{name}={_FLAGS[name].value}",
                )
        module = importlib.import_module(f"ib_keras.pipelines.{_FLAGS.pipeline}")
        pipeline = pipeline_of(module, _FLAGS.preset)
        if _FLAGS.describe:
            print(describe(module, _FLAGS.preset))
            return 0
        given = parse_settings(pipeline, _FLAGS.set)
        given |= own_model_and_data(pipeline, _FLAGS.model, _FLAGS.data)
        settings = {**preset(module, _FLAGS.preset), **given}
        return _RUN[_FLAGS.runner](module, pipeline, settings)
    except IbKerasError as error:
        print(f"ib-keras: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # What a shell expects of a command that was interrupted.
        print("\nib-keras: interrupted. The same command goes on from here.", file=sys.stderr)
        return 128 + signal.SIGINT


def _compile(module: Any, pipeline: Any, settings: dict[str, Any]) -> int:
    from kfp import compiler

    from ib_keras.pipelines.spec import graph

    output = pathlib.Path(_FLAGS.output or f"{_FLAGS.pipeline}.yaml")
    if not output.parent.is_dir():
        raise ArgumentError("`output` is in no folder", "an existing folder", str(output.parent))
    settings = graph.grouped(graph.specification(pipeline), settings, _groups(module))
    compiler.Compiler().compile(
        pipeline, package_path=str(output), pipeline_parameters=settings or None
    )
    print(f"Wrote {output}")
    return 0


def _groups(module: Any) -> tuple[str, ...]:
    return getattr(module, "GROUPS", ())


def _check(module: Any, pipeline: Any, settings: dict[str, Any], far: bool = False) -> None:
    """What the pipeline checks, with its defaults: a model must fit the default data, too."""
    signature = inspect.signature(pipeline.pipeline_func).parameters.values()
    given = {p.name: p.default for p in signature if p.default is not p.empty} | settings
    if far:  # what lies in a bucket is not here to be looked at
        given = {k: v for k, v in given.items() if not re.search("gs://|/gcs/", str(v))}
    check = getattr(module, "check", None)
    if check is None:
        return
    with _without_greetings():
        import keras  # noqa: F401
    try:
        check(given)
    except IbKerasError as error:
        # What was received may be anything, and has to pass from one process to another.
        plain = type(error)(error.invalid, error.expected, str(error.received))
        raise plain from error


def _check_apart(settings: dict[str, Any], far: bool = False) -> None:
    """``_check`` in a process of its own, so that this one is not as large as TensorFlow."""
    apart = multiprocessing.get_context("spawn")  # TensorFlow does not outlive a fork
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=apart) as pool:
        pool.submit(_check_named, _FLAGS.pipeline, _FLAGS.preset, settings, far).result()


def _check_named(name: str, of_preset: str | None, settings: dict[str, Any], far: bool) -> None:
    module = importlib.import_module(f"ib_keras.pipelines.{name}")
    _check(module, pipeline_of(module, of_preset), settings, far)


@contextlib.contextmanager
def _without_greetings() -> Iterator[None]:
    """Drops what TensorFlow's libraries write when they are loaded, whatever its log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _run(module: Any, pipeline: Any, settings: dict[str, Any]) -> int:
    from ib_keras.pipelines.runners import local

    run_dir = local.check_run_dir(_FLAGS.run_dir or f"runs/{_FLAGS.pipeline}")
    _check_apart(settings)
    signal.signal(signal.SIGINT, _stop)
    folder = local.run(
        pipeline,
        settings,
        run_dir,
        groups=_groups(module),
        enable_caching=_FLAGS.enable_caching,
    )
    _show(folder)
    return 0


def _stop(*_: object) -> NoReturn:
    """Ends at once; the terminal has told the tasks, too. What is written is always whole."""
    print("\nib-keras: interrupted. The same command goes on from here.", file=sys.stderr)
    sys.stderr.flush()
    os._exit(130)


def _submit(module: Any, pipeline: Any, settings: dict[str, Any]) -> int:
    remote = importlib.import_module(f"ib_keras.pipelines.runners.{_FLAGS.runner}")
    if _FLAGS.fetch is None:
        from ib_keras.pipelines.spec import graph

        _check_apart(settings, far=True)
        settings = graph.grouped(graph.specification(pipeline), settings, _groups(module))
    options = {name: _FLAGS[name].value for name in REMOTE}
    return remote.run(pipeline, settings, name=_FLAGS.pipeline, options=options)


def _show(folder: pathlib.Path) -> None:
    import pandas as pd

    import ib_keras

    estimates = ib_keras.load(folder)
    if len(ib_keras.report.last_epoch_table(estimates)) <= _ROWS:
        print(f"\nLast epoch (nats):\n{ib_keras.report.last_epoch_text(estimates)}")
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


_RUN = {"local": _run, "compile": _compile, "vertex": _submit, "kubeflow": _submit}

if __name__ == "__main__":
    main()
