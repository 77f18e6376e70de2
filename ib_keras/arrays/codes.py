"""Discrete codes: which rows are equal, and the plug-in entropies of that."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd

from ib_keras.interface import Estimate

_ROWS_AT_A_TIME = 1 << 22  # bytes
_MIX = np.uint64(0x9E3779B97F4A7C15)


def row_codes(rows: Any) -> np.ndarray:
    """An integer code for each row, equal if and only if the rows are.

    Rows are hashed to 64 bits; the grouping is then checked against the rows themselves, so a
    collision costs time, never correctness.

    Args:
        rows: ``(n, ...)`` of any fixed-size dtype; −0.0 and 0.0 count as equal.

    Returns:
        ``(n,)`` codes 0…K−1, in the order in which they appear.
    """
    words = _words(np.asarray(rows))
    if words.shape[1] == 1:
        return pd.factorize(words[:, 0])[0]
    codes, found = pd.factorize(_hash(words))
    # Codes are given in the order of appearance: a row is a first one where the code is new.
    highest = np.maximum.accumulate(codes)
    first = np.flatnonzero(np.append(True, highest[1:] > highest[:-1]))[: len(found)]
    step = max(1, _ROWS_AT_A_TIME // words[0].nbytes)
    for i in range(0, len(words), step):
        part = slice(i, i + step)
        if not np.array_equal(words[part], words[first[codes[part]]]):
            return np.unique(words, axis=0, return_inverse=True)[1].reshape(-1)
    return codes


def row_hashes(rows: np.ndarray) -> np.ndarray:
    """A hash of 64 bits for each row: equal where the rows are equal, and seldom elsewhere.

    Args:
        rows: ``(n, ...)`` of any fixed-size dtype; −0.0 and 0.0 count as equal.

    Returns:
        ``(n,)`` unsigned integers.
    """
    return _hash(_words(np.asarray(rows)))


def _words(rows: np.ndarray) -> np.ndarray:
    """The rows' bytes as 64-bit words, padded with zeros."""
    flat = rows.reshape(len(rows), -1)
    if flat.dtype.kind == "f":
        flat = flat + flat.dtype.type(0)  # −0.0 becomes 0.0
    data = np.ascontiguousarray(flat).view(np.uint8).reshape(len(flat), -1)
    short = -data.shape[1] % 8
    if short:
        data = np.pad(data, ((0, 0), (0, short)))
    return data.view(np.uint64)


def _hash(words: np.ndarray) -> np.ndarray:
    """A multiply-xorshift hash of each row of 64-bit words."""
    count = words.shape[1]
    multipliers = np.random.default_rng(0x1B).integers(
        0, np.iinfo(np.uint64).max, size=count, dtype=np.uint64
    ) | np.uint64(1)
    out = np.empty(len(words), np.uint64)
    step = max(1, _ROWS_AT_A_TIME // words[0].nbytes)
    for i in range(0, len(words), step):
        mixed = words[i : i + step] * multipliers
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX
        mixed ^= mixed >> np.uint64(32)
        mixed *= multipliers
        out[i : i + step] = mixed.sum(axis=1, dtype=np.uint64)
    return out


def entropy(codes: np.ndarray) -> float:
    """The plug-in entropy ln n − (1/n) Σ c ln c of the codes 0…K−1, in nats."""
    n = len(codes)
    small = int(codes.max(initial=0)) < 16 * n + 1024
    counts = np.bincount(codes) if small else np.unique(codes, return_counts=True)[1]
    counts = counts[counts > 0].astype(np.float64)
    return max(0.0, float(math.log(n) - (counts * np.log(counts)).sum() / n))


def at_most_entropy(found: Estimate, labels: np.ndarray) -> Estimate:
    """I(T;Y) of the labels 0…K−1, cut off at H(Y), which estimates exceed by their errors."""
    return dataclasses.replace(found, value=min(found.value, entropy(labels)))


def joint_entropy(a: np.ndarray, b: np.ndarray) -> float:
    """The plug-in entropy of the pairs, both given as codes 0…K−1."""
    return entropy(a.astype(np.int64) * (int(b.max()) + 1) + b)


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """The plug-in I(A;B) = H(A) + H(B) − H(A,B) of two code vectors, in nats."""
    return max(0.0, entropy(a) + entropy(b) - joint_entropy(a, b))
