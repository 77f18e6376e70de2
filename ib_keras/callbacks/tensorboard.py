"""Estimates in Keras's logs and in TensorBoard during training."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ib_keras import frame, plot
from ib_keras.errors import MissingExtraError
from ib_keras.frame.table import target_quantity

_SYMBOLS = {"I(X;T)": "I_XT", "I(T;Y)": "I_TY", "H(T)": "H_T"}
# Characters that some trackers do not accept in names.
_OTHER = re.compile(r"[^\w/.-]+")
_UNIT = "_nats/"


def name(row: Mapping[str, Any]) -> str:
    """Return the name of an estimate in Keras's logs, such as ``I_XT_nats/ebab/dense_1``.

    The name of the information about one of several targets begins with ``I_TY_name_nats/``. All
    names consist of letters, digits and ``_ / . -``, which TensorBoard, MLflow and others accept.
    """
    parts = (row["estimator"], row["layer"])
    quantity, _, target = row["quantity"].removesuffix("])").partition("[")
    symbol = _SYMBOLS.get(f"{quantity})" if target else quantity) or _plain(quantity)
    symbol += f"_{_plain(target)}" if target else ""
    return symbol + _UNIT + "/".join(_plain(part) for part in parts)


def _plain(text: str) -> str:
    return _OTHER.sub(".", text).strip(".")


def numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the losses and metrics in ``logs``, without the estimates of another recorder."""
    return {
        key: float(value)
        for key, value in (logs or {}).items()
        if np.ndim(value) == 0 and _UNIT not in key
    }


class TensorBoard:
    """Writes estimates and the information plane below ``log_dir/information``.

    Args:
        log_dir: TensorBoard's folder, which its own callback may share.

    Raises:
        MissingExtraError: If TensorBoard or matplotlib is not installed.
    """

    def __init__(self, log_dir: str | os.PathLike) -> None:
        for package in ("tensorboard", "matplotlib"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError.of("`log_dir`", package, "tensorboard")
        self._folder = os.path.join(os.fspath(log_dir), "information")
        self._writer: Any = None
        self._rows: list[Mapping[str, Any]] = []
        self._drawn = True

    def begin(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Start the information plane with the rows of earlier epochs, if a training is resumed."""
        self._rows, self._drawn = list(rows), True

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows as scalars at the step of their epoch.

        Args:
            rows: rows with the columns of ``ib_keras.frame.COLUMNS``.
        """
        rows = list(rows)
        self._rows.extend(rows)
        self._drawn = False
        with self._open():
            for row in rows:
                tag = f"{row['quantity']} in {row['unit']}, {row['estimator']}/{row['layer']}"
                tf.summary.scalar(tag, row["value"], step=row["epoch"])
        self._writer.flush()

    def draw(self) -> None:
        """Write the current information plane as an image, at the step of its last epoch."""
        table = frame.from_rows(dict(row) for row in self._rows)
        if self._drawn or not {"I(X;T)", target_quantity(table)} <= set(table["quantity"]):
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(plot.information_plane(table))
        canvas.draw()
        image = np.asarray(canvas.buffer_rgba())[None, :, :, :3]
        with self._open():
            tf.summary.image("information plane", image, step=int(table["epoch"].max()))
        self._writer.flush()
        self._drawn = True

    def close(self) -> None:
        """Draw the latest plane and close the file; a later ``write`` opens another file."""
        if self._writer is not None:
            self.draw()
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._folder)
        stack = contextlib.ExitStack()
        stack.enter_context(self._writer.as_default())
        stack.enter_context(tf.summary.record_if(True))
        return stack
