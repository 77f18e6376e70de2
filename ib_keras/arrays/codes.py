"""Integer codes of equal rows, and their plug-in entropies."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd

from ib_keras.arrays.rows import slices
from ib_keras.interface import Estimate

# Bytes that are hashed or compared at a time.
_BLOCK_BYTES = 1 << 22
# Bytes that are read from a memory map at a time.
_PART_BYTES = 1 << 26
_WORD = 8
_MIX = np.uint64(0x9E3779B97F4A7C15)


def row_codes(rows: Any) -> np.ndarray:
    """Return an integer code for each row; two codes are equal if and only if the rows are.

    The rows are hashed to 64 bits, and rows with equal hashes are then compared with each other, so
    a collision of hashes costs time but does not change the result. Memory maps are read in parts.

    Args:
        rows: array ``(n, ...)`` of any fixed-size dtype; −0.0 and 0.0 are equal.

    Returns:
        Codes 0…K−1, ``(n,)``, in order of first appearance.
    """
    rows = np.asarray(rows)
    width = rows[:1].nbytes
    if width <= _WORD:
        return pd.factorize(_words(rows)[:, 0])[0]
    parts = slices(len(rows), _PART_BYTES // width)
    codes = pd.factorize(np.concatenate([_hash(_words(rows[part])) for part in parts]))[0]
    first = first_rows(codes)
    for part in slices(len(rows), _BLOCK_BYTES // width):
        if not np.array_equal(_words(rows[part]), _words(rows[first[codes[part]]])):
            return np.unique(_words(rows), axis=0, return_inverse=True)[1].reshape(-1)
    return codes


def first_rows(codes: np.ndarray) -> np.ndarray:
    """Return the row where each code appears first, for codes in order of first appearance."""
    highest = np.maximum.accumulate(codes)
    return np.flatnonzero(np.append(True, highest[1:] > highest[:-1]))


def row_hashes(rows: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of each row ``(n, ...)``; −0.0 and 0.0 have the same hash."""
    return _hash(_words(np.asarray(rows)))


def _words(rows: np.ndarray) -> np.ndarray:
    """Return the bytes of each row as 64-bit words, padded with zeros."""
    flat = rows.reshape(len(rows), -1)
    if flat.dtype.kind == "f":
        flat = flat + flat.dtype.type(0)  # −0.0 becomes 0.0
    data = np.ascontiguousarray(flat).view(np.uint8).reshape(len(flat), -1)
    short = -data.shape[1] % _WORD
    if short:
        data = np.pad(data, ((0, 0), (0, short)))
    return data.view(np.uint64)


def _hash(words: np.ndarray) -> np.ndarray:
    """Return a multiply-xorshift hash of each row of 64-bit words."""
    multipliers = np.random.default_rng(0x1B).integers(
        0, np.iinfo(np.uint64).max, size=words.shape[1], dtype=np.uint64
    ) | np.uint64(1)
    out = np.empty(len(words), np.uint64)
    for part in slices(len(words), _BLOCK_BYTES // words[0].nbytes):
        mixed = words[part] * multipliers
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX
        mixed ^= mixed >> np.uint64(32)
        mixed *= multipliers
        out[part] = mixed.sum(axis=1, dtype=np.uint64)
    return out


def entropy(codes: np.ndarray) -> float:
    """Return the plug-in entropy ln n − (1/n) Σ c ln c of codes 0…K−1 with counts c, in nats."""
    n = len(codes)
    small = int(codes.max(initial=0)) < 16 * n + 1024
    counts = np.bincount(codes) if small else np.unique(codes, return_counts=True)[1]
    counts = counts[counts > 0].astype(np.float64)
    return max(0.0, float(math.log(n) - (counts * np.log(counts)).sum() / n))


def at_most_entropy(estimate: Estimate, labels: np.ndarray) -> Estimate:
    """Return an estimate of I(T;Y), limited to the entropy H(Y) of the labels 0…K−1.

    Where all classes seem separate, the next row may be the first that is not. One such row among n
    lowers I(T;Y) by about (1 + ln n)/n nats, so the standard error of an estimate above H(Y)/2 is
    at least that.
    """
    limit, n = entropy(labels), len(labels)
    error = estimate.stderr
    if labels.min() < labels.max() and 2 * estimate.value > limit:
        error = max(error, min((1 + math.log(n)) / n, limit))
    return dataclasses.replace(estimate, value=min(estimate.value, limit), stderr=error)


def joint_entropy(a: np.ndarray, b: np.ndarray) -> float:
    """Return the plug-in entropy of pairs of codes 0…K−1, in nats."""
    return entropy(a.astype(np.int64) * (int(b.max()) + 1) + b)


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Return the plug-in I(A;B) = H(A) + H(B) − H(A,B) of two vectors of codes, in nats."""
    return max(0.0, entropy(a) + entropy(b) - joint_entropy(a, b))
