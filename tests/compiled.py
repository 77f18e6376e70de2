"""What KFP makes of a pipeline or component, and how it is compared with the committed file."""

import pathlib

import pytest
import yaml
from kfp import compiler

from ib_keras.components import base

# In place of a version.
MASK = "masked"


def compiled(part, folder: pathlib.Path) -> str:
    """YAML without the version and the fingerprint of the source, which every edit would change."""
    path = folder / "compiled.yaml"
    compiler.Compiler().compile(part, str(path))
    return path.read_text().replace(base.version(), MASK)


def compare(part, committed: pathlib.Path, folder: pathlib.Path, update: bool) -> None:
    """Fails unless the committed file says the same; or rewrites it, where it does not."""
    text = compiled(part, folder)
    same = committed.exists() and masked(committed.read_text()) == masked(text)
    if update and not same:
        committed.write_text(text)
    elif not same:
        pytest.fail(f"{committed} is not up to date: see what `make golden` changes in it")


def masked(text: str) -> dict:
    """As a dict, without the versions of KFP and of the library."""
    spec = yaml.safe_load(text)
    spec["sdkVersion"] = MASK
    for executor in spec["deploymentSpec"]["executors"].values():
        for variable in executor.get("container", {}).get("env", []):
            if variable["name"] == base.VERSION_VARIABLE:
                variable["value"] = MASK
    return spec
