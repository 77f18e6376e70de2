"""A model that is compiled once and trained again and again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np


class Retrained:
    """A Keras model and its optimizer, which go back to their start before each training.

    Compiling a model takes longer than most of the trainings that the estimators need, so that one
    model serves all trainings of one shape. Only one of them may run at a time: whoever trains the
    model, or predicts with it, holds ``lock``.

    Args:
        model: a built model. What its weights, its optimizer and its random generators are now is
            the start of every training.
        optimizer: the optimizer; the one that the model was compiled with by default.
        more: further variables that belong to the training.
    """

    def __init__(self, model: Any, optimizer: Any = None, more: Sequence[Any] = ()) -> None:
        optimizer = model.optimizer if optimizer is None else optimizer
        optimizer.build(model.trainable_variables)
        self.model = model
        self.lock = threading.Lock()
        self.variables = [*model.variables, *optimizer.variables, *more]
        self._start = [np.array(variable.numpy()) for variable in self.variables]

    def restart(self) -> None:
        """Gives all variables the values that they had at the start."""
        for variable, value in zip(self.variables, self._start, strict=True):
            variable.assign(value)
