"""Training of a model with a custom ``train_step`` through its instrumented model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

_STEPS = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics", "metrics")
# The attributes that `compile` sets on a model, and that a step reads.
_COMPILED = (
    "_compile_loss", "_compile_metrics", "_jit_compile", "_loss_tracker", "_run_eagerly",
    "compiled", "loss", "optimizer", "steps_per_execution",
)  # fmt: skip
_lock = threading.Lock()
_lent: dict[int, tuple[int, dict[str, Any]]] = {}


def is_customised(model: keras.Model) -> bool:
    """Return whether the model's class overrides the steps, loss or metrics of Keras."""
    return any(getattr(type(model), step) is not getattr(keras.Model, step) for step in _STEPS)


def copy_compiled(source: keras.Model, target: keras.Model) -> None:
    """Give ``target`` the attributes that ``source`` was compiled with, without tracking them."""
    names = (*_COMPILED, "_compile_config")
    target.__dict__.update({n: source.__dict__[n] for n in names if n in source.__dict__})


@contextmanager
def compiled_as(model: keras.Model, other: keras.Model) -> Iterator[None]:
    """Give ``model`` the attributes that ``other`` was compiled with, for a ``with`` block.

    The open blocks are counted, because the replicas of a distribution strategy run steps
    concurrently; the last one restores the model's own attributes.
    """
    key = id(model)
    with _lock:
        count, own = _lent.get(key, (0, {}))
        if not count:
            own = {name: model.__dict__[name] for name in _COMPILED if name in model.__dict__}
            model.__dict__.update({n: other.__dict__[n] for n in _COMPILED if n in other.__dict__})
        _lent[key] = (count + 1, own)
    try:
        yield
    finally:
        with _lock:
            count, own = _lent.pop(key)
            if count > 1:
                _lent[key] = (count - 1, own)
            else:
                for name in _COMPILED:
                    model.__dict__.pop(name, None)
                model.__dict__.update(own)
