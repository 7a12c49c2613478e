"""Squared distances of single pairs in float64: from the original rows, or from whitened ones where those will do."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["difference", "whitened"]


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def difference(x, y, factor, part):  # type: ignore[no-untyped-def]
    """``|W^T (x - y)|^2`` from the original rows; ``part`` is room for r numbers."""
    d, r = factor.shape
    part[:] = 0.0
    for j in range(d):
        apart = np.float64(x[j]) - np.float64(y[j])
        if apart != 0.0:
            for c in range(r):
                part[c] += apart * factor[j, c]
    total = 0.0
    for c in range(r):
        total += part[c] * part[c]
    return total


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def whitened(a, b):  # type: ignore[no-untyped-def]
    """``|a - b|^2`` of whitened rows."""
    total = 0.0
    for c in range(len(a)):
        apart = a[c] - b[c]
        total += apart * apart
    return total
