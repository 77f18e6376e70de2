"""The image of tasks: how it is named, what it must have, and how the Dockerfile installs it."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from google.protobuf import json_format

import ib_keras
from ib_keras.components.base import DEFAULT_IMAGE
from ib_keras.errors import ArgumentError
from ib_keras.pipelines import information_plane
from ib_keras.pipelines.spec.image import containers, set_image

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def spec():
    return json_format.MessageToDict(information_plane.information_plane.pipeline_spec)


def test_every_task_gets_the_image_and_the_specification_stays(spec):
    named = set_image(spec, "host/path/ib:2")
    assert {c["image"] for _, c in containers(named)} == {"host/path/ib:2"}
    assert {c["image"] for _, c in containers(spec)} == {DEFAULT_IMAGE}
    assert {name for name, _ in containers(spec)} == {
        "examples", "trainer", "capturer", "planner", "estimator", "reporter",
    }  # fmt: skip


def test_images_that_are_named_may_stay_the_default_may_not(spec):
    for _, container in containers(spec):
        container["image"] = "host/own"
    assert {c["image"] for _, c in containers(set_image(spec, None))} == {"host/own"}
    container["image"] = DEFAULT_IMAGE
    with pytest.raises(ArgumentError, match="`image` is missing. Expected .*docker build"):
        set_image(spec, None)


@pytest.mark.parametrize("image", ["", "two words", "-x", "host/ib;rm"])
def test_no_reference(spec, image):
    with pytest.raises(ArgumentError, match="not a reference of a container image"):
        set_image(spec, image)


def _start(spec, path):
    command = next(c for _, c in containers(set_image(spec, "host/ib:2")))["command"]
    return subprocess.run(
        [*command[:2], command[2].partition("program_path=")[0]],
        capture_output=True, text=True, env={"PATH": str(path)},
    )  # fmt: skip


def test_a_task_in_an_image_without_the_library_says_so(spec, tmp_path):
    (tmp_path / "sh").symlink_to(shutil.which("sh"))
    done = _start(spec, tmp_path)
    assert done.returncode == 1
    assert "the image host/ib:2 lacks python3. Expected an image built by" in done.stderr

    python = tmp_path / "python3"
    python.write_text(f'#!{shutil.which("sh")}\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    done = _start(spec, tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "ib-keras: the image host/ib:2 lacks ['kfp', 'ib_keras']. Expected an image built by the "
        "Dockerfile of ib-keras, or upon one. Received: host/ib:2\n"
    )

    python.write_text(f'#!{shutil.which("sh")}\nexec {sys.executable} "$@"\n')
    assert _start(spec, tmp_path).returncode == 0


@pytest.fixture(scope="module")
def steps():
    """The Dockerfile's instructions."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    return [line.partition(" ")[::2] for line in lines if line and not line.startswith("#")]


def test_the_dockerfile_installs_as_ci_does(steps):
    assert any("sh .ci/install python" in text for word, text in steps if word == "RUN")
    assert "sh .ci/install" in (ROOT / "Makefile").read_text()


def test_the_devices_are_extras(steps):
    extras = re.findall(r"extras=([\w,]+)", next(t for w, t in steps if w == "RUN"))
    assert extras == ["pipelines", "pipelines,gpu"]
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{name} = [" in project for name in ("pipelines", "gpu"))


def test_the_steps_of_the_dockerfile_run(steps, tmp_path):
    """In a folder in place of an image; the dependencies are those that are installed."""
    image, installed = tmp_path / "image", tmp_path / "installed"
    image.mkdir()
    for text in (t for word, t in steps if word == "COPY"):
        *sources, target = text.split()
        for source in sources:
            assert (ROOT / source).exists()
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, image / target, ignore=ignored)
            else:
                shutil.copy(ROOT / source, image / target)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f'#!/bin/sh\n[ "$2" = pip ] && set -- "$@" --no-deps --target {installed}\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "DEVICE": "cpu",
        "PYTHONPATH": str(installed),
    }
    folder = image
    for word, text in steps:
        if word == "WORKDIR":
            folder = image if text != "/" else tmp_path
        elif word == "RUN":
            done = subprocess.run(
                ["sh", "-c", text], cwd=folder, env=environment, capture_output=True, text=True
            )
            if "No matching distribution found for setuptools" in done.stderr:
                pytest.skip("what builds the project cannot be downloaded")
            assert done.returncode == 0, done.stderr
    assert ib_keras.__version__ in done.stdout
    package = installed / "ib_keras"
    # Every file with code is installed.
    for source, target in (("ib_keras", "."), ("components",) * 2, ("pipelines",) * 2):
        for path in (ROOT / source).rglob("*.py"):
            assert (package / target / path.relative_to(ROOT / source)).is_file(), path
    environment["DEVICE"] = "tpu"
    first = next(text for word, text in steps if word == "RUN")
    done = subprocess.run(["sh", "-c", first], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "DEVICE is tpu. Expected cpu or gpu.\n"
