"""What all components share: the image they run in, and how they are declared."""

from __future__ import annotations

from typing import Any

try:
    from kfp import dsl
except ModuleNotFoundError as error:
    from ib_keras.errors import MissingExtraError

    raise MissingExtraError.of("ib_keras.components", "kfp", "pipelines") from error

# Begins the line in a task's log that says what it made.
MARK = "ib-keras:"

# The name has "python" in it because the local runner warns about others.
DEFAULT_IMAGE = "ib-keras-python:latest"


def component(function: Any) -> Any:
    """Declares a component that installs nothing at run time: the image has ``ib_keras``."""
    return dsl.component(
        function, base_image=DEFAULT_IMAGE, packages_to_install=[], install_kfp_package=False
    )


def publish(artifact: Any, facts: dict[str, Any]) -> None:
    """Puts what an executor says of its work on the artifact, and on the task's log.

    Args:
        artifact: a KFP artifact.
        facts: short names and JSON values.
    """
    artifact.metadata.update(facts)
    text = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    )
    print(f"{MARK} {text}")
