"""Estimates as TensorBoard scalars, while a model trains."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from ib_keras.errors import MissingExtraError


class Scalars:
    """Writes estimates below ``log_dir/information``, one chart an estimator and quantity.

    Args:
        log_dir: TensorBoard's folder, which its own callback may share.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, log_dir: str | os.PathLike) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise MissingExtraError.of("`log_dir`", "tensorboard", "tensorboard")
        self._folder = os.path.join(os.fspath(log_dir), "information")
        self._writer: Any = None

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes rows of the table of estimates, at the step of their epoch.

        Args:
            rows: with the columns of ``ib_keras.frame.COLUMNS``.
        """
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._folder)
        with self._writer.as_default(), tf.summary.record_if(True):
            for row in rows:
                tag = f"{row['quantity']} in {row['unit']}, {row['estimator']}/{row['layer']}"
                tf.summary.scalar(tag, row["value"], step=row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Closes the file; a later ``write`` opens another."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
