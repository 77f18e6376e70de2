"""Every block of code in the README and the documentation runs as it stands.

Python runs block by block, those of a page in one namespace. Of a shell's lines, `ib-keras` is
carried out up to the point where tasks would start: its flags, preset, settings, model and data are
checked, and the pipeline is compiled; what goes to a server is printed by ``--dry_run``.
"""

import pathlib
import re
import shlex
import subprocess
import sys
import tomllib
import types

import keras
import numpy as np
import pytest
import yaml
from absl import flags
from absl.testing import flagsaver

from ib_keras import estimators
from ib_keras import flags as flags_module
from ib_keras.pipelines import cli

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)
_BLOCK = re.compile(r"^( *)```[ ]?([^\n`]*)\n(.*?)^\1```$", flags=re.M | re.S)
# What is shown and not run: output, and formulas.
_SHOWN = {"text", "math", "mermaid"}


# Commands that stand on several pages.
_RAN: set[tuple[str, ...]] = set()


def blocks(page):
    """Language and content of each fenced block of a page."""
    found = []
    for indent, info, content in _BLOCK.findall(page.read_text(encoding="utf-8")):
        lines = [line.removeprefix(indent) for line in content.splitlines()]
        found.append((info.split()[0] if info.strip() else "", "\n".join(lines)))
    return found


def pages_with(*languages, but=()):
    chosen = [
        p for p in PAGES
        if p.name not in but and any(language in languages for language, _ in blocks(p))
    ]  # fmt: skip
    return pytest.mark.parametrize("page", chosen, ids=lambda p: str(p.relative_to(ROOT)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the pages speak of: runs, data, a model, a module."""
    from make_frame import make_frame

    import ib_keras as ib

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("tanh-0", "tanh-1", "relu-0", "relu-1"):
        ib.frame.write(make_frame(runs=(name,)), f"runs/{name}")
    x, y = rng.uniform(size=(60, 12)).astype(np.float32), np.arange(60) % 2
    np.savez("my_data.npz", x=x, y=y)
    for name, shape in (("mnist", (28, 28)), ("cifar10", (32, 32, 3))):
        images = rng.integers(0, 255, (60, *shape), dtype=np.uint8)
        np.savez(f"{name}.npz", x_train=images, y_train=y, x_test=images, y_test=y)
    keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(3), keras.layers.Dense(2, "softmax")]
    ).save("my_model.keras")
    pathlib.Path("my_package").mkdir()
    pathlib.Path("my_package/nets.py").write_text(
        "import keras\n\n\ndef build(input_shape, n_classes):\n"
        "    return keras.Sequential([keras.Input(input_shape), "
        "keras.layers.Dense(n_classes, 'softmax')])\n"
    )
    return tmp_path


@pytest.fixture
def trackers(monkeypatch):
    """Stand-ins for the trackers, which are no dependencies: they keep what they are given."""
    given = {}

    class Keeps(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            given.update(logs)

    for module, name in (
        ("wandb.integration.keras", "WandbMetricsLogger"), ("mlflow.keras", "MlflowCallback"),
    ):  # fmt: skip
        made = types.ModuleType(module)
        setattr(made, name, type(name, (Keeps,), {}))
        for parent in (module.split(".")[0], module.rpartition(".")[0]):
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        monkeypatch.setitem(sys.modules, module, made)
    return given


def test_every_block_says_what_it_is():
    known = {"python", "sh", "console", "yaml"} | _SHOWN
    for page in PAGES:
        for language, content in blocks(page):
            assert language in known, f"{page.name}: {content.splitlines()[:1]}"
            if language in _SHOWN:
                assert not re.match(r"(import|from|ib-keras|pip) ", content), page.name
        assert page.read_text(encoding="utf-8").count("```") == 2 * len(blocks(page)), page.name


@pages_with("python", but=["gotchas.md"])
def test_python(page, folder, trackers, capsys):
    import matplotlib

    names: dict = {"__name__": "__main__"}
    registered = dict(estimators._REGISTRY)
    with matplotlib.rc_context():
        for number, (language, content) in enumerate(blocks(page), 1):
            if language == "python":
                exec(compile(content, f"{page.name}, block {number}", "exec"), names)
    estimators._REGISTRY.clear()
    estimators._REGISTRY.update(registered)
    if page.name == "README.md":
        assert all((folder / f).stat().st_size > 0 for f in ("plane.png", "report.html"))
        shown = names["table"].loc[names["table"]["quantity"] == "I(X;T)", "flags"]
        assert not shown.str.contains("network_noise|saturated|no_channel").any()
    if page.name == "training.md":
        assert "I_TY_nats/sp/hidden" in trackers
    if page.name == "models.md":
        assert "['hidden', 'output']" in capsys.readouterr().out


def test_gotchas_have_the_flags_that_they_name(folder, capsys):
    """Its blocks run; what is wrong has the flags of the symptom, and what is right has not."""
    text = (ROOT / "docs" / "gotchas.md").read_text(encoding="utf-8")
    names: dict = {"__name__": "__main__"}
    seen = set()
    for section in text.split("\n## "):
        found = {}
        for _, _, content in _BLOCK.findall(section):
            exec(compile(content, "gotchas.md", "exec"), names)
            for side in ("wrong", "right"):
                if side in names:
                    found.setdefault(side, names.pop(side))
        symptom = section.partition("**Symptom.**")[2].partition("**Cause.**")[0]
        flags = set(re.findall(r"`(\w+)`", symptom)) & set(flags_module.FLAGS)
        for side, result in found.items():
            one = getattr(result, "flags", ()) if not hasattr(result, "columns") else ()
            many = ",".join(result["flags"]) if hasattr(result, "columns") else ",".join(one)
            said = flags & set(flags_module.split(many))
            assert said == (flags if side == "wrong" else set()), (section[:40], side, many)
        seen |= flags
    assert len(seen) >= 8


@pages_with("sh", "console")
def test_shell(page, folder, monkeypatch):
    def check_here(settings, remote=False):
        cli.check_arguments(flags.FLAGS.pipeline, flags.FLAGS.preset, settings, remote)

    # `test_cli.py` has it in a process of its own, which is to import TensorFlow each time.
    monkeypatch.setattr(cli, "_check_in_subprocess", check_here)
    for name, content in re.findall(
        r"```yaml\n# (\S+\.yaml)\n(.*?)```", "".join(p.read_text() for p in PAGES), flags=re.S
    ):
        pathlib.Path(name).write_text(content)
    ran = 0
    for language, content in blocks(page):
        if language in ("sh", "console"):
            for line in content.replace("\\\n", " ").splitlines():
                # What does not stand behind a prompt is output.
                if language == "console" and not line.startswith("$ "):
                    continue
                for words in _commands(line.removeprefix("$ ")):
                    if tuple(words) not in _RAN:
                        _run(words)
                    _RAN.add(tuple(words))
                    ran += 1
    assert ran


@pages_with("yaml")
def test_yaml(page):
    for language, content in blocks(page):
        if language == "yaml":
            assert yaml.safe_load(content), page.name


def _commands(line):
    words = shlex.split(line, comments=True)
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        yield words[:end]
        words = words[end + 1 :]


def _run(words):
    program, *arguments = words
    if program == "ib-keras":
        _ib_keras(arguments)
    elif program == "make":
        done = subprocess.run(["make", "-n", "-C", ROOT, *arguments], capture_output=True)
        assert done.returncode == 0, words
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extra in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
            assert set(extra.split(",")) <= set(extras["optional-dependencies"]), words
    elif program == "docker":
        text = (ROOT / "Dockerfile").read_text()
        for argument in re.findall(r"--build-arg (\w+)=", " ".join(arguments)):
            assert f"ARG {argument}" in text, words
    elif words[:3] == ["python", "-m", "benchmarks.papers"]:
        explained = (ROOT / "docs" / "papers" / "data" / "README.md").read_text()
        assert arguments[2:], words
        for argument in arguments[2:]:
            assert f"`{argument.partition('=')[0]}`" in explained, words
    elif program.endswith("/python"):
        helped = [sys.executable, ROOT / arguments[0], "--help"]
        assert subprocess.run(helped, capture_output=True).returncode == 0, words
    else:
        pytest.fail(f"a command that is not known: {words}")


def _ib_keras(arguments):
    """Carries the command out, up to what would start tasks or need a server."""
    if any(a.startswith("--runner=vertex") or a.startswith("--runner=kubeflow") for a in arguments):
        arguments = [a for a in arguments if a != "--wait"]
        if any(a.startswith("--fetch=") for a in arguments):
            arguments = [a for a in arguments if not a.startswith("--fetch=")]
            arguments += ["--image=IMAGE", "--pipeline_root=gs://my-bucket/root"]
        arguments.append("--dry_run")
    elif not {"--describe", "--helpshort"} & set(arguments):
        arguments = [
            a for a in arguments if not a.startswith(("--runner=", "--output=", "--run_dir="))
        ]
        arguments += ["--runner=compile", "--output=compiled.yaml"]
    with flagsaver.flagsaver():
        flags.FLAGS(["ib-keras", *arguments])
        assert cli.run(["ib-keras"]) == 0, arguments
