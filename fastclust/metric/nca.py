"""Neighbourhood components analysis, through scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from fastclust.errors import InputError
from fastclust.metric.estimator import MahalanobisMetric, become
from fastclust.metric.labels import checked_rows_and_labels

__all__ = ["NCA"]


class NCA(MahalanobisMetric):
    """The metric in which a row's stochastic nearest neighbour most often has its label.

    Goldberger et al., "Neighbourhood components analysis", NIPS 2004, by scikit-learn's NeighborhoodComponentsAnalysis.
    Time and memory grow with the square of the number of rows.

    Parameters
    ----------
    n_components
        Rows of ``components_``; None keeps all d.
    init
        "auto", "pca", "lda", "identity", "random", or an array ``[n_components, d]``.
    max_iter, tol
        When the optimiser stops.
    random_state
        For ``init="random"`` and "pca" of wide rows.

    Attributes
    ----------
    n_iter_
        Iterations of the optimiser.
    components_, mean_, rank_, n_features_in_
        As of :class:`MahalanobisMetric`.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        init: Any = "auto",
        max_iter: int = 50,
        tol: float = 1e-5,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to rows ``X`` ``[n, d]`` and their labels ``y`` ``[n]``. Raises InputError, InputTypeError."""
        from sklearn.neighbors import NeighborhoodComponentsAnalysis

        rows, labels = checked_rows_and_labels(X, y)
        analysis = NeighborhoodComponentsAnalysis(
            self.n_components,
            init=self.init,
            max_iter=self.max_iter,
            tol=self.tol,
            random_state=self.random_state,
        )
        try:
            analysis.fit(rows, labels)
        except (ValueError, TypeError) as error:
            raise InputError("parameters", str(error), "what scikit-learn's analysis takes") from error
        self.n_iter_ = int(analysis.n_iter_)
        return become(self, np.asarray(analysis.components_, np.float64).T, rows.mean(axis=0))
