"""What is public, what importing costs, and which way imports run."""

import ast
import pathlib
import subprocess
import sys

import pytest

import ib_keras as ib

ROOT = pathlib.Path(__file__).parents[1]


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/"
    ).stdout


def test_public_names():
    assert ib.__all__ == [
        "ActivationStore", "Activations", "Backup", "Calibration", "Estimate", "InstrumentedModel",
        "LayerInformation", "MutualInformation", "Recorder", "__version__", "calibrate",
        "clustering", "compare", "compression", "constraints", "datasets", "ensembles", "errors",
        "estimate", "estimators", "frame", "instrument", "layers", "load", "models",
        "mutual_information", "pixelcnn", "plot", "regularizers", "replay", "report", "studies",
        "synthetic", "views",
    ]  # fmt: skip
    for name in ib.__all__:
        assert getattr(ib, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ib.nothing  # noqa: B018


def test_importing_is_light():
    code = (
        "import sys, ib_keras, ib_keras.components.reporter.executor, "
        "ib_keras.components.examples.executor, ib_keras.estimators, ib_keras.datasets, "
        "ib_keras.components.estimator.executor\n"
        "print(*(m for m in ('tensorflow', 'keras', 'matplotlib', 'kfp', 'tensorflow_probability')"
        " if m in sys.modules))"
    )
    assert run(code).split() == []


def test_binning_a_store_needs_no_tensorflow(tmp_path):
    code = f"""
import sys, numpy as np, ib_keras as ib
store = ib.ActivationStore.create({str(tmp_path / "s")!r}, inputs=np.arange(9.0)[:, None],
                                  targets=np.arange(9) % 2, layers=["a"])
with store.writer(0, noise_std={{}}) as w:
    w.write("a", np.arange(9.0)[:, None])
print(len(ib.estimate(store, ["ebab", "binning"])), "tensorflow" in sys.modules)
"""
    assert run(code).split() == ["4", "False"]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_run_one_way():
    for path in (ROOT / "ib_keras").rglob("*.py"):
        for name in imports(path):
            assert not name.startswith(("ib_keras.components", "ib_keras.pipelines", "kfp")), path
    for path in (ROOT / "components").rglob("*.py"):
        for name in imports(path):
            assert not name.startswith("ib_keras.pipelines"), path
            assert path.name in ("component.py", "base.py") or not name.startswith("kfp"), path
    assert not [n for n in imports(ROOT / "ib_keras" / "interface.py") if n.startswith("ib_keras")]


def test_executors_work_without_kfp():
    files = sorted((ROOT / "components").rglob("executor.py"))
    names = [f"ib_keras.components.{path.parent.name}.executor" for path in files]
    assert len(names) > 10
    code = f"""
import importlib, sys
sys.modules["kfp"] = None
for name in {names}:
    importlib.import_module(name)
"""
    run(code)


def test_nothing_is_imported_under_the_folders_bare_names():
    for folder in ("ib_keras", "components", "pipelines", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in imports(path):
                assert name.split(".")[0] not in ("components", "pipelines"), path
    import ib_keras.components.reporter.executor
    import ib_keras.pipelines.cli  # noqa: F401

    assert not [m for m in sys.modules if m.split(".")[0] in ("components", "pipelines")]
    assert run("import importlib.util as u; print(u.find_spec('components'))").strip() == "None"


def test_tensorflow_is_the_backend():
    code = "import keras; keras.backend.backend = lambda: 'jax'; import ib_keras.layers"
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(code)
    assert "Expected KERAS_BACKEND=tensorflow. Received: 'jax'" in error.value.stderr
