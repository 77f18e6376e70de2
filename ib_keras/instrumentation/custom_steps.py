"""Lets a model with its own ``train_step`` train through its instrumented self."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

_STEPS = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics", "metrics")
# What `compile` leaves on a model, and a step reads from it.
_COMPILED = (
    "_compile_loss",
    "_compile_metrics",
    "_jit_compile",
    "_loss_tracker",
    "_run_eagerly",
    "compiled",
    "loss",
    "optimizer",
    "steps_per_execution",
)
_lock = threading.Lock()
_lent: dict[int, tuple[int, dict[str, Any]]] = {}


def is_customised(model: keras.Model) -> bool:
    """Whether the model's class has a training step, loss or metrics of its own."""
    return any(getattr(type(model), step) is not getattr(keras.Model, step) for step in _STEPS)


@contextmanager
def compiled_as(model: keras.Model, other: keras.Model) -> Iterator[None]:
    """While the block runs, ``model`` has what ``other`` was compiled with; then its own again.

    Counted, because the replicas of a distribution strategy run their steps side by side.
    """
    key = id(model)
    with _lock:
        count, own = _lent.get(key, (0, {}))
        if not count:
            own = {name: model.__dict__[name] for name in _COMPILED if name in model.__dict__}
            for name in _COMPILED:
                if name in other.__dict__:
                    model.__dict__[name] = other.__dict__[name]
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
