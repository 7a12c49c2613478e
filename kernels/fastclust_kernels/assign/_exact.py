"""Squared distances by differences in float64: what decides where scores cannot, and what the caller is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["distances_to_few", "distances_to_listed", "distances_to_own", "squared"]


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def squared(x, c):  # type: ignore[no-untyped-def]
    """|x - c|^2."""
    total = 0.0
    for j in range(len(x)):
        difference = np.float64(x[j]) - np.float64(c[j])
        total += difference * difference
    return total


def distances_to_own(X: NDArray[Any], centers: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Squared distance [n] of each row to the centre of its label."""
    out = np.full(len(X), np.nan)
    _own(X, centers, labels, out)
    return out


def distances_to_few(X: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.float64]:
    """Squared distances [m, n] to a handful of rows."""
    out = np.full((len(rows), len(X)), np.nan)
    _few(X, rows, out)
    return out


def distances_to_listed(X: NDArray[Any], rows: NDArray[Any], listed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared distances [n, m] to the rows with the numbers listed."""
    out = np.full(listed.shape, np.nan)
    _listed(X, rows, listed, out)
    return out


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _own(X, centers, labels, out):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(X)):
        out[i] = squared(X[i], centers[labels[i]])


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _few(X, rows, out):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(X)):
        for m in range(len(rows)):
            out[m, i] = squared(X[i], rows[m])


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _listed(X, rows, listed, out):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(X)):
        for m in range(listed.shape[1]):
            j = listed[i, m]
            out[i, m] = squared(X[i], rows[j]) if j >= 0 else np.inf
