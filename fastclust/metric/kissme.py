"""A metric from pairs that are alike and pairs that are not, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastclust.errors import InputError
from fastclust.metric.estimator import MahalanobisMetric, become
from fastclust.metric.labels import checked_signs
from fastclust.metric.searching import checked_pairs
from fastclust_kernels import mahalanobis as kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KISSME"]


class KISSME(MahalanobisMetric):
    """The log-likelihood ratio of a difference between alike and not alike, as a metric.

    ``M`` is the precision matrix of the differences of alike pairs minus that of the others, with negative eigenvalues
    set to zero (Koestinger et al., "Large scale metric learning from equivalence constraints", CVPR 2012, equations 9
    to 15). Like metric-learn's learners from pairs, it is fitted to ``pairs`` ``[p, 2, d]`` and 1 or -1 for each.

    Attributes
    ----------
    components_, mean_, rank_, n_features_in_
        As of :class:`MahalanobisMetric`; ``mean_`` is zero.
    """

    def __init__(self) -> None:
        """Take no parameters."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to pairs.

        Parameters
        ----------
        X
            Pairs ``[p, 2, d]``.
        y
            Integers ``[p]``: 1 for alike, -1 for not alike.

        Raises
        ------
        InputError, InputTypeError
            Wrong shapes, one kind of pairs only, too few alike pairs for a covariance of full rank, NaN or Inf.
        """
        pairs = checked_pairs(X).astype(np.float64)
        alike = checked_signs(y, len(pairs))
        differences = pairs[:, 0] - pairs[:, 1]
        matrix = _precision(differences[alike], "alike") - _precision(differences[~alike], "not alike")
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        keep = values > len(values) * np.finfo(np.float64).eps * np.abs(values).max()
        if not keep.any():
            raise InputError("y", "alike pairs that are as far apart as the others", "alike pairs that are nearer")
        return become(self, vectors[:, keep] * np.sqrt(values[keep]))


def _precision(differences: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    d = differences.shape[1]
    factor = kernels.factor_of_covariance(differences.T @ differences / len(differences))
    if factor.shape[1] < d:
        raise InputError(
            "X", f"differences of rank {factor.shape[1]} among pairs {kind}", f"rank {d}, as of the columns"
        )
    precision: NDArray[np.float64] = factor @ factor.T
    return precision
