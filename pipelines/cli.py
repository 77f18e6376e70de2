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
from ib_keras.pipelines import places
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
# Longer tables of the last epoch are not printed.
_ROWS = 60
_INTERRUPTED = "\nib-keras: interrupted. Run the same command again to resume."
_HELP = """Runs a pipeline of ib_keras on this machine, compiles it, or submits it.

  ib-keras --pipeline=information_plane --runner=local
  ib-keras --preset=digits --run_dir=runs/digits
  ib-keras --pipeline=noisy_dnn --preset=szt-quick
  ib-keras --model=my_model.keras --data=my_data.npz --set epochs=50
  ib-keras --checkpoints='run/*.keras' --data=my_table.csv --set label=price
  ib-keras --pipeline=lossy_compression --describe
  ib-keras --runner=compile --output=information_plane.yaml
  ib-keras --runner=vertex --project=my-project --region=europe-west4 \\
      --pipeline_root=gs://my-bucket/root --image=IMAGE --dry_run

Running the same command again runs only the tasks that have changed or are missing.
"""

_FLAGS = flags.FLAGS
flags.DEFINE_string("pipeline", "information_plane", f"One of {', '.join(PIPELINES)}.")
flags.DEFINE_string(
    "runner", "local",
    "local: run on this machine. compile: write a KFP YAML file. vertex, kubeflow: submit a job.",
)  # fmt: skip
flags.DEFINE_string("preset", None, "Name of a preset; without one, the defaults are used.")
flags.DEFINE_multi_string(
    "set", [],
    "A parameter of the pipeline, as key=value; or one value of a JSON object, as key.name=value.",
)  # fmt: skip
flags.DEFINE_bool("describe", False, "List the pipeline's parameters and presets, and exit.")
flags.DEFINE_string(
    "data", None, "Same as --set data=…: a name, a file (.npz, .mat, .csv, .parquet) or a folder."
)
flags.DEFINE_multi_string(
    "model", [], "Same as --set models=…: a name, a .keras file or module:function."
)
flags.DEFINE_multi_string(
    "checkpoints", [],
    "Glob of a training's checkpoints, which are measured instead of a new training. Weights "
    "without a model need --model.",
)  # fmt: skip
flags.DEFINE_bool("enable_caching", True, "Reuse the results of tasks that have not changed.")
flags.DEFINE_string(
    "run_dir", None, "[local, vertex, kubeflow] Folder of the results; runs/<pipeline> by default."
)
flags.DEFINE_string(
    "output", None,
    "[compile, vertex, kubeflow] The file to write; <pipeline>.yaml by default. With --dry_run: a "
    "file for the whole request, or - to print it.",
)  # fmt: skip

# Options of the remote runners, whose modules are imported on use.
flags.DEFINE_string("project", None, "[vertex] ID of the Google Cloud project.")
flags.DEFINE_string("region", None, "[vertex] Region such as europe-west4.")
flags.DEFINE_string("pipeline_root", None, "[vertex, kubeflow] gs://… folder for task outputs.")
flags.DEFINE_string("image", None, "[vertex, kubeflow] Container image of all tasks.")
flags.DEFINE_string("service_account", None, "[vertex, kubeflow] Account that runs the tasks.")
flags.DEFINE_string("network", None, "[vertex] Full name of a VPC network.")
flags.DEFINE_list("labels", [], "[vertex] Labels of the job, as key=value,….")
flags.DEFINE_string(
    "machines", None,
    "[vertex, kubeflow] Machine types by component: a YAML file, or component.key=value,….",
)  # fmt: skip
flags.DEFINE_bool("wait", False, "[vertex, kubeflow] Follow the job until it ends.")
flags.DEFINE_bool("dry_run", False, "[vertex, kubeflow] Print a summary, and exit.")
flags.DEFINE_string("fetch", None, "[vertex] Name of a finished job whose estimates to fetch.")
flags.DEFINE_string("host", None, "[kubeflow] Address of the Kubeflow Pipelines server.")
REMOTE = (
    "project", "region", "pipeline_root", "image", "service_account", "network", "enable_caching",
    "labels", "machines", "wait", "dry_run", "output", "fetch", "host", "run_dir",
)  # fmt: skip


def main() -> None:
    """Entry point of the command ``ib-keras``."""
    # A module:function may be in this folder, as with `python -m` and in the tasks.
    sys.path.append(os.getcwd())
    # absl shows the docstring and flags of the main module, which is the command's script.
    sys.modules["__main__"].__doc__ = _HELP
    for flag in _FLAGS.get_key_flags_for_module(_FLAGS.find_module_defining_flag("pipeline")):
        _FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    try:
        app.run(run, flags_parser=_parse_flags)
    except BrokenPipeError:  # the reader of the output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parse the flags as absl does; a parameter of a pipeline that is no flag is explained."""
    try:
        return _FLAGS(argv, known_only=False)
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        print(
            f"ib-keras: There is no flag --{name}. Expected a flag of --helpshort; a parameter of "
            f"a pipeline, as --describe lists them, is passed as --set {name}=…",
            file=sys.stderr,
        )
        raise SystemExit(1) from None


def check_runner(runner: str) -> None:
    """Raise an ``ArgumentError`` if a flag was passed that this runner does not use."""
    for name in REMOTE:
        tags = re.match(r"\[(.*?)\]", _FLAGS[name].help)
        if _FLAGS[name].present and tags and runner not in tags[1].split(", "):
            raise ArgumentError(
                f"--{name} has no effect with --runner={runner}",
                f"--runner={' or '.join(tags[1].split(', '))}, or no --{name}",
                f"--{name}={_FLAGS[name].value}",
            )


def run(argv: list[str]) -> int:
    """Run the command with the flags that were parsed, and return its exit status."""
    try:
        if len(argv) > 1:
            raise ArgumentError(
                "There are unknown arguments", "flags only; see --helpshort", argv[1:]
            )
        for name, known in (("pipeline", PIPELINES), ("runner", RUNNERS)):
            if _FLAGS[name].value not in known:
                raise ArgumentError(
                    f"The {name} {_FLAGS[name].value!r} is unknown",
                    f"one of {list(known)}",
                    f"--{name}={_FLAGS[name].value}",
                )
        check_runner(_FLAGS.runner)
        module = importlib.import_module(f"ib_keras.pipelines.{_FLAGS.pipeline}")
        pipeline = pipeline_of(module, _FLAGS.preset)
        if _FLAGS.describe:
            print(describe(module, _FLAGS.preset))
            return 0
        settings = preset(module, _FLAGS.preset)
        given = parse_settings(pipeline, _FLAGS.set, settings)
        models = _FLAGS.model or (given.get("models", []) if _FLAGS.checkpoints else [])
        settings |= given
        settings |= own_model_and_data(pipeline, models, _FLAGS.data, _FLAGS.checkpoints)
        return _RUN[_FLAGS.runner](module, pipeline, settings)
    except IbKerasError as error:
        print(f"ib-keras: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
        return 128 + signal.SIGINT


def _compile(module: Any, pipeline: Any, settings: dict[str, Any]) -> int:
    from kfp import compiler

    from ib_keras.pipelines.spec import graph

    output = pathlib.Path(_FLAGS.output or f"{_FLAGS.pipeline}.yaml")
    if output.suffix not in (".yaml", ".yml"):
        raise ArgumentError("`output` is not the name of a YAML file", "FILE.yaml", str(output))
    places.check_file(output)
    settings = graph.grouped(graph.specification(pipeline), settings, module.GROUPS)
    compiler.Compiler().compile(
        pipeline, package_path=str(output), pipeline_parameters=settings or None
    )
    print(f"Wrote {output}")
    return 0


def check_arguments(
    name: str, of_preset: str | None, settings: dict[str, Any], remote: bool = False
) -> None:
    """Run a pipeline's check with its defaults, because a model must fit the default data too."""
    module = importlib.import_module(f"ib_keras.pipelines.{name}")
    signature = inspect.signature(pipeline_of(module, of_preset).pipeline_func).parameters.values()
    arguments = {p.name: p.default for p in signature if p.default is not p.empty} | settings
    if remote:  # files in a bucket cannot be checked here
        arguments = {k: v for k, v in arguments.items() if not re.search("gs://|/gcs/", str(v))}
    with _quiet_stderr():
        import keras  # noqa: F401
    try:
        module.check(arguments)
    except IbKerasError as error:
        # The received value may not be picklable, as the way to another process requires.
        plain = type(error)(error.invalid, error.expected, str(error.received))
        raise plain from error


def _check_in_subprocess(settings: dict[str, Any], remote: bool = False) -> None:
    """Run ``check_arguments`` in another process, so that this one does not load TensorFlow."""
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not support forking
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pool.submit(check_arguments, _FLAGS.pipeline, _FLAGS.preset, settings, remote).result()


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop the messages that TensorFlow's libraries print on import at any log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _run(module: Any, pipeline: Any, settings: dict[str, Any]) -> int:
    from ib_keras.pipelines.runners import local

    run_dir = local.check_run_dir(_FLAGS.run_dir or f"runs/{_FLAGS.pipeline}")
    _check_in_subprocess(settings)
    signal.signal(signal.SIGINT, _stop)
    caching = _FLAGS.enable_caching
    folder = local.run(pipeline, settings, run_dir, groups=module.GROUPS, enable_caching=caching)
    _show(folder)
    return 0


def _stop(*_: object) -> NoReturn:
    """Exit at once; the terminal interrupts the tasks too, and files are written atomically."""
    print(_INTERRUPTED, file=sys.stderr, flush=True)
    os._exit(128 + signal.SIGINT)


def _submit(module: Any, pipeline: Any, settings: dict[str, Any]) -> int:
    remote = importlib.import_module(f"ib_keras.pipelines.runners.{_FLAGS.runner}")
    if _FLAGS.fetch is None:
        from ib_keras.pipelines.spec import graph

        _check_in_subprocess(settings, remote=True)
        settings = graph.grouped(graph.specification(pipeline), settings, module.GROUPS)
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
        print("\nFindings of the paper, and measured results:")
        table = pd.read_csv(findings, keep_default_na=False)
        for (finding, paper), rows in table.groupby(["finding", "paper"], sort=False):
            print(f"  {finding}")
            if paper:
                print(f"    paper: {paper}")
            for row in rows.to_dict("records"):
                print(f"    {' '.join((row['run'], row['layer'])).strip()}: {row['measured']}")
    print("\nResults:")
    for path in sorted(folder.iterdir(), key=lambda p: (p.suffix != ".html", p.name)):
        if path.suffix in (".html", ".png", ".parquet", ".csv"):
            print(f"  {path.resolve()}")


_RUN = {"local": _run, "compile": _compile, "vertex": _submit, "kubeflow": _submit}

if __name__ == "__main__":
    main()
