"""A model that is compiled once and trained again and again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np


class Retrained:
    """A Keras model and its optimizer, which are reset to their initial state before each training.

    Compiling a model takes longer than most trainings of the estimators, so one model is used for
    all trainings of one shape. Only one of them may run at a time: a caller holds ``lock`` while it
    trains the model or predicts with it.

    Args:
        model: a built model. The current state of its weights, its optimizer and its random
            generators is the initial state of every training.
        optimizer: the optimizer; by default the one that the model was compiled with.
        more: further variables to reset.
    """

    def __init__(self, model: Any, optimizer: Any = None, more: Sequence[Any] = ()) -> None:
        optimizer = model.optimizer if optimizer is None else optimizer
        optimizer.build(model.trainable_variables)
        self.model = model
        self.lock = threading.Lock()
        self.variables = [*model.variables, *optimizer.variables, *more]
        self._start = [np.array(variable.numpy()) for variable in self.variables]

    def restart(self) -> None:
        """Reset all variables to their initial values."""
        for variable, value in zip(self.variables, self._start, strict=True):
            variable.assign(value)
