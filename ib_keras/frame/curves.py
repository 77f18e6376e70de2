"""How a layer's information changes during training: its fall, its phases, and smoothed curves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ib_keras.arrays.checks import check_count
from ib_keras.errors import ArgumentError
from ib_keras.frame.seeds import without_seed
from ib_keras.frame.table import validate

_CURVE = ["run", "layer", "layer_index", "estimator"]


def compression(
    frame: pd.DataFrame, *, quantity: str = "I(X;T)", over_seeds: bool = False
) -> pd.DataFrame:
    """Measure how far each layer's information falls from its maximum to the end of training.

    With I_e the curve over the recorded epochs: absolute = max_e I_e − I_end, relative = absolute /
    max_e I_e. The published studies do not define their score; this definition is ours.

    Args:
        frame: a table of estimates.
        quantity: ``"I(X;T)"``, or another quantity of the table.
        over_seeds: whether to combine runs whose names differ only in a number at the end
            (``tanh-0``, ``tanh-1``) into means and standard deviations.

    Returns:
        A frame with a row for each run, layer and estimator: ``maximum``, ``turn`` (the epoch of
        the maximum), ``end``, ``absolute``, its ``stderr`` (NaN if the estimates have none),
        ``relative`` (NaN if the maximum is not positive) and ``unit``, the unit of the table. With
        ``over_seeds``, the column ``seeds`` has the number of runs, each measure has a second
        column ``…_std``, its standard deviation over runs, and there is no ``stderr``.

    Raises:
        ArgumentError: If the table lacks columns or the quantity.
    """
    rows = []
    for key, curve in _curves(frame, quantity):
        values = curve["value"].to_numpy()
        top, maximum, end = int(values.argmax()), float(values.max()), float(values[-1])
        errors = curve["stderr"].to_numpy()
        rows.append(
            {
                **key,
                "maximum": maximum,
                "turn": int(curve["epoch"].iloc[top]),
                "end": end,
                "absolute": maximum - end,
                "stderr": math.hypot(errors[top], errors[-1]),
                "relative": (maximum - end) / maximum if maximum > 0 else math.nan,
                "unit": curve["unit"].iloc[0],
            }
        )
    measures = ["maximum", "turn", "end", "absolute", "stderr", "relative"]
    falls = pd.DataFrame(rows, columns=[*_CURVE, *measures, "unit"])
    if not over_seeds:
        return falls
    falls["run"] = without_seed(falls["run"])
    measures.remove("stderr")
    groups = falls.groupby([*_CURVE, "unit"], sort=False)
    table = groups[measures].mean()
    table.insert(0, "seeds", groups.size())
    for name in measures:
        table[f"{name}_std"] = groups[name].std()
    table = table.reset_index()
    return table[[*table.columns.drop("unit"), "unit"]]


def phases(
    frame: pd.DataFrame, *, quantity: str = "I(X;T)", tolerance: float = 0.05
) -> pd.DataFrame:
    """Find the fitting and compression phases of each layer, in which the curve rises or falls.

    A phase ends at an extremum from which the curve turns back by more than the tolerance and by
    more than 3 standard errors (their 90 % quantile over the curve); smaller movements are
    considered noise.

    Args:
        frame: a table of estimates.
        quantity: ``"I(X;T)"``, or another quantity of the table.
        tolerance: the least change that ends a phase, as a fraction of the range of the curve.

    Returns:
        A frame with a row for each phase, in order: run, layer, estimator, ``phase``
        (``"fitting"`` or ``"compression"``), ``start`` and ``stop`` (epochs), ``change`` and
        ``unit``, the unit of the table.

    Raises:
        ArgumentError: If the table lacks columns or the quantity.
    """
    rows = []
    for key, curve in _curves(frame, quantity):
        values, epochs = curve["value"].to_numpy(), curve["epoch"].to_numpy()
        errors = curve["stderr"].fillna(0).to_numpy()
        least = max(tolerance * float(np.ptp(values)), 3 * float(np.quantile(errors, 0.9)), 1e-9)
        turns = _turns(values, least)
        for start, stop in itertools.pairwise(turns):
            change = float(values[stop] - values[start])
            phase = "fitting" if change > 0 else "compression"
            rows.append({**key, "phase": phase, "start": int(epochs[start]),
                         "stop": int(epochs[stop]), "change": change,
                         "unit": curve["unit"].iloc[0]})  # fmt: skip
    return pd.DataFrame(rows, columns=[*_CURVE, "phase", "start", "stop", "change", "unit"])


def smoothed(frame: pd.DataFrame, *, window: int = 31, order: int = 4) -> pd.DataFrame:
    """Smooth the curves of each layer over the epochs by local polynomials (Savitzky and Golay).

    The value at an epoch becomes that of the polynomial that best fits the recorded epochs in a
    window around it. The standard error is multiplied by the norm of the weights of these epochs,
    which assumes that the errors of different epochs are independent. A curve is left unchanged if
    it has fewer recorded epochs than the window, if they are not equally far apart, or if a value
    is not finite.

    Args:
        frame: a table of estimates.
        window: number of recorded epochs in a window, odd and more than ``order``.
        order: degree of the polynomials.

    Returns:
        The table with smoothed values and errors.

    Raises:
        ArgumentError: If the table lacks columns, or the window is even or too short for the order.

    References:
        Savitzky & Golay, Anal. Chem. 36(8), 1964. Butakov et al., ICLR 2024, arXiv:2305.08013.
    """
    from scipy.signal import savgol_coeffs, savgol_filter

    window, order = check_count(window, "window", 3), check_count(order, "order", 0)
    if window % 2 == 0 or window <= order:
        raise ArgumentError("`window` is invalid", f"an odd number above {order}", window)
    # At the ends of a curve, the polynomial of the first or last window is evaluated at each epoch.
    norms = np.array(
        [np.linalg.norm(savgol_coeffs(window, order, pos=i, use="dot")) for i in range(window)]
    )
    half = window // 2
    table = validate(frame).reset_index(drop=True)
    for _, curve in table.groupby([*_CURVE, "quantity"], sort=False):
        curve = curve.sort_values("epoch")
        steps = np.diff(curve["epoch"].to_numpy())
        values = curve["value"].to_numpy()
        if len(curve) < window or len(set(steps)) != 1 or not np.isfinite(values).all():
            continue
        table.loc[curve.index, "value"] = savgol_filter(values, window, order)
        middle = np.full(len(curve) - 2 * half, norms[half])
        factors = np.concatenate([norms[:half], middle, norms[half + 1 :]])
        table.loc[curve.index, "stderr"] = factors * curve["stderr"].to_numpy()
    return table.set_axis(frame.index)


def _turns(values: np.ndarray, least: float) -> list[int]:
    """Return the indices at which the phases of a curve begin and end.

    These are the first value, the extrema from which the curve turns back by more than ``least``,
    and the last extremum; none if the curve never changes by more than ``least``.
    """
    low = high = 0
    direction = 0
    turns: list[int] = []
    for i, value in enumerate(values):
        low = i if value < values[low] else low
        high = i if value > values[high] else high
        if direction >= 0 and values[high] - value > least:
            turns += [high] if direction else [0, high] if high else [0]
            direction, low = -1, i
            high = i
        elif direction <= 0 and value - values[low] > least:
            turns += [low] if direction else [0, low] if low else [0]
            direction, high = 1, i
            low = i
    if not direction:
        return []
    last = high if direction > 0 else low
    return list(dict.fromkeys([*turns, last]))


def _curves(frame: pd.DataFrame, quantity: str) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the curves of a quantity over the epochs, without values that are not finite."""
    table = validate(frame)
    part = table[table["quantity"] == quantity]
    if part.empty:
        raise ArgumentError(
            f"The table has no {quantity}", f"one of {sorted(table['quantity'].unique())}", quantity
        )
    part = part[np.isfinite(part["value"])].sort_values(["layer_index", "epoch"], kind="stable")
    for key, curve in part.groupby(_CURVE, sort=False):
        yield dict(zip(_CURVE, key, strict=True)), curve
