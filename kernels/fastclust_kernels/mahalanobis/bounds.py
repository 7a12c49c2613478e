"""How far a distance may be off, and which are computed again: derived in README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.mahalanobis._tiles import CHUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TOLERANCE", "condition_at_least", "floor_of", "growth", "losses", "repair_below", "rigorous"]

#: Wanted relative error of a distance, by dtype, for a factor of condition 10 at most.
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}
_UNIT = float(np.finfo(np.float64).eps) / 2


def growth(columns: int) -> float:
    """By how many roundoffs a sum of that many products is off: chunks from zero, then the chunks."""
    return float(np.sqrt(min(columns, CHUNK)) + np.sqrt(-(-columns // CHUNK)))


def repair_below(dtype: Any, rank: int) -> float:
    """Share of ``|a|^2 + |b|^2`` below which a squared distance is computed again."""
    kind = np.dtype(dtype)
    return (growth(rank) + 4) * float(np.finfo(kind).eps) / 2 / TOLERANCE[kind.name]


def floor_of(dtype: Any) -> float:
    """Squared distance below which numbers too small for the dtype may have been lost."""
    return float(np.finfo(dtype).tiny) * (1e4 if np.dtype(dtype) == np.float32 else 1e8)


def losses(spreads: NDArray[np.float64], d: int, tolerance: float) -> NDArray[np.float64]:
    """A row's part of the squared distance below which whitening itself may cost more than it should."""
    lost = (growth(d) + 2) * _UNIT * spreads
    result: NDArray[np.float64] = 32 / tolerance**2 * lost**2
    return result


def rigorous(d: int) -> float:
    """What whitening may cost at the very worst, as a multiple of a row's spread."""
    return (d + 2) * float(np.sqrt(d)) * _UNIT


def condition_at_least(factor: NDArray[np.float64]) -> float:
    """Lower bound on the condition number of a factor: errors may grow with it."""
    from scipy.linalg import LinAlgError, cholesky, lapack

    gram = factor.T @ factor
    norm = float(np.abs(gram).sum(axis=0).max())
    try:
        reciprocal = lapack.dpocon(cholesky(gram), norm)[0]
    except LinAlgError:
        reciprocal = 0.0
    # The 1-norm's condition number is at most r times the 2-norm's, and the factor's is the root of its Gram matrix's.
    return float(1 / np.sqrt(max(reciprocal, len(gram) * 2 * _UNIT) * len(gram)))
