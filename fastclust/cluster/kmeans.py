"""Exact k-means."""

from __future__ import annotations

import numbers
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastclust.cluster.base import Centers, check_integer, check_number
from fastclust.cluster.checkpoint import Checkpoint, fingerprint
from fastclust.cluster.chunks import occupied
from fastclust.cluster.inputs import check_rows, check_weights, check_width
from fastclust.cluster.lloyd import Fit, lloyd
from fastclust.cluster.seeding import initial_centers
from fastclust.cluster.spaces import Space, space_of
from fastclust.cluster.streaming import StreamedRows
from fastclust.data import open_rows
from fastclust.data.limits import is_streamed
from fastclust.errors import BackendError, InputError
from fastclust_kernels.assign.screening import ARITHMETIC
from fastclust_kernels.tensors import wanted
from fastclust_kernels.update import update

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows

__all__ = ["KMeans", "warn_of_duplicates"]

#: Whether an algorithm keeps bounds; None where they are worth it.
_BOUNDS = {"auto": None, "lloyd": False, "elkan": True}


class KMeans(Centers):
    """k-means clustering by Lloyd's iteration, with scikit-learn's parameters and attributes. Rows may be CSR.

    Parameters
    ----------
    n_clusters
        Number of clusters, at most the number of rows.
    init
        "k-means++" (greedy, exact), "cells" (for many clusters: greedy k-means++ inside each of about
        ``sqrt(n_clusters)`` cells), "k-means||" (a few passes over the rows, CSR or streamed ones too), "auto": one of
        them, by the size; "random" (distinct rows), an array ``[n_clusters, d]``, or a callable
        ``(X, n_clusters, random_state=)``.
    n_init
        Runs from different starts, of which the one with the least inertia counts; "auto" is 10
        for "random" and callables, else 1.
    max_iter
        Most iterations of a run.
    tol
        Centres that move by less than this, squared, relative to the mean variance of the columns, have converged.
    metric
        "euclidean", "cosine" (spherical k-means: rows and centres are brought to length one), or a fitted
        MahalanobisMetric.
    algorithm
        "lloyd" computes every distance. "elkan" keeps bounds between iterations and leaves out what they decide; here
        they are Yinyang's, on groups of 16 centres, and take ``n_clusters / 4`` bytes a row, or an eighth of the row;
        of at most 16 clusters Hamerly's, 16 bytes a row. The labels are the same.
        "auto" keeps bounds where they are worth it; ``algorithm_`` says what ran.
    arithmetic
        "exact": labels of a float64 brute force. The others are for "triton" and "cuda", whose matrix units screen the
        rows with products that know their error; ``certified_fraction_`` says which share that decided. "certified",
        "tf32" and "split" promise the same labels as "exact": float64 decides the rest. "certified" screens in float16;
        "tf32" in tf32, as precise, for rows of which some numbers are so small beside the largest that float16 loses
        them; "split" in three products of high and low halves (54 times as precise at 64 columns, 6 at 768), where many
        rows lie between centres. These two keep a copy of 4 bytes a number instead of 2. "half" promises less: it
        leaves it at the screen of "certified", and the label of a row that is left open is one of those that half
        precision cannot tell apart.
    backend
        "auto", "numba", "triton" (a CUDA GPU; rows may be torch or CuPy arrays there), "cuda" (the same with sums in
        CUDA C++, through CuPy) or "reference"; for CSR rows "auto" or "scipy". "auto" takes a GPU kernel only for rows
        on a kind of GPU where it passed against the oracle.
    random_state
        Seed; the same seed gives the same bits for any number of threads.
    verbose
        Print one line a run.
    copy_x
        Of scikit-learn's signature; the input is never changed.

    Attributes
    ----------
    cluster_centers_
        ``[n_clusters, d]``, in the dtype of the rows.
    labels_
        int32 ``[n]``; they belong to ``cluster_centers_``.
    inertia_
        Weighted sum of squared distances to the nearest centre, in the metric.
    n_iter_, n_features_in_, backend_, algorithm_, init_
        Iterations of the best run, d, and the backend, algorithm and kind of start that ran.
    certified_fraction_
        Only after "triton" or "cuda": share of the rows that the last assignment needed no float64 for.

    References
    ----------
    S. Lloyd, "Least squares quantization in PCM", 1982. D. Arthur and S. Vassilvitskii, "k-means++", 2007. Y. Ding et
    al., "Yinyang K-Means", ICML 2015. G. Hamerly, "Making k-means even faster", SDM 2010.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "auto",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        metric: Any = "euclidean",
        algorithm: str = "auto",
        arithmetic: str = "exact",
        backend: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        copy_x: bool = True,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.metric = metric
        self.algorithm = algorithm
        self.arithmetic = arithmetic
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose
        self.copy_x = copy_x

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, checkpoint: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Cluster the rows ``X`` ``[n, d]``, weighted by ``sample_weight`` ``[n]``.

        Rows of :func:`fastclust.open_rows` that take more than half of the memory they were opened with stay in their
        files and are read once an iteration; the result is the same to the bit, where ``init`` is.

        Parameters
        ----------
        checkpoint
            A folder where the fit is kept after each iteration. Fitted again with the same folder, rows and parameters
            (with an integer as ``random_state``), it goes on from there to the same bits.

        Raises
        ------
        InputError, InputTypeError
            More clusters than rows, NaN or Inf, wrong shapes, dtypes or parameters; before any work.
        BackendError
            The backend or arithmetic asked for cannot run this.
        OperationCancelledError
            A progress listener asked to stop.
        PreconditionError
            The checkpoint is of another fit.
        """
        self._check_parameters()
        rows, space = self._inside(X, reset=True, folder=None if checkpoint is None else Path(checkpoint))
        self._check_count(rows.shape[0])
        weights = check_weights(sample_weight, rows.shape[0])
        random = check_random_state(self.random_state)
        keeper = None
        if checkpoint is not None:
            if not isinstance(self.random_state, numbers.Integral):
                raise InputError("random_state", repr(self.random_state), "an integer, for a checkpoint")
            if self.arithmetic == "half":
                raise InputError(
                    "checkpoint", "with arithmetic='half'", "arithmetic='certified', whose bits can be resumed"
                )
            keeper = Checkpoint(checkpoint, fingerprint(X, weights, self._settled()), random)
        best = self._best_run(rows, weights, space, random, keeper)
        self.__dict__.pop("certified_fraction_", None)
        certified = getattr(rows, "certified", None)
        if certified is not None:
            self.certified_fraction_ = float(certified)
        self.backend_, self.algorithm_ = best.backend, best.algorithm
        self._inner_centers = best.centers
        self.labels_, self.inertia_, self.n_iter_ = best.labels, best.inertia, best.n_iter
        self.cluster_centers_ = self._outer_centers(X, rows.dtype, best, weights, space)
        self._n_features_out = len(best.centers)
        found = occupied(best.labels, self.n_clusters)
        if found < self.n_clusters:
            warn_of_duplicates(found, self.n_clusters)
        return self

    def _best_run(
        self,
        rows: Rows,
        weights: NDArray[np.float64] | None,
        space: Space,
        random: RandomState,
        keeper: Checkpoint | None,
    ) -> Fit:
        runs = self._n_init = self._runs()
        tol = self.tol * rows.variance() if self.tol else 0.0
        best = None if keeper is None else keeper.best
        for run in range(0 if keeper is None else keeper.run, runs):
            if keeper is not None and keeper.start is not None and run == keeper.run:
                start, self.init_ = keeper.start, keeper.start_name
            else:
                start, self.init_ = initial_centers(self.init, rows, self.n_clusters, weights, random)
                if keeper is not None:
                    keeper.begin(run, start, self.init_, best)
            if self.verbose:
                print("Initialization complete")  # noqa: T201
            iterate: Any = partial(lloyd, rows, keeper=keeper, verbose=bool(self.verbose))
            if keeper is None and not self.verbose and hasattr(rows, "lloyd"):
                iterate = rows.lloyd  # a GPU's rows iterate there, where nobody looks at each iteration
            found = iterate(
                space.project(start),
                weights=weights,
                max_iter=self.max_iter,
                tol=tol,
                cosine=space.name == "cosine",
                backend=self.backend,
                bounds=_BOUNDS[self.algorithm],
                run=(run, runs),
            )
            if best is None or found.inertia < best.inertia:
                best = found
        assert best is not None
        if not len(best.labels):
            # The best run was one before the checkpoint, which keeps centres only.
            best = best._replace(labels=rows.assign(best.centers, self.backend)[0])
        return best

    def _outer_centers(
        self, X: Any, dtype: np.dtype[Any], fit: Fit, weights: NDArray[np.float64] | None, space: Space
    ) -> NDArray[Any]:
        """Centres among the rows as they came: their weighted means, where the space is another."""
        if space.name != "mahalanobis":
            return fit.centers
        k = len(fit.centers)
        if _streams_there(X) if wanted(self.backend, X) else is_streamed(X):
            sums, total = StreamedRows(open_rows(X), Space()).means(fit.labels, k, weights)
        elif wanted(self.backend, X):
            from fastclust.cluster.device_rows import device_rows

            there = device_rows(X, self.backend, finite=False)
            sums, total, _ = there.sums(k, weights).step(there.labels(fit.labels))
        else:
            sums, total, _ = update(check_rows(self, X, reset=False), fit.labels, k, weights=weights)
        means: NDArray[Any] = (sums / np.maximum(total, np.finfo(np.float64).tiny)[:, None]).astype(dtype)
        return means

    def _inside(self, X: Any, *, reset: bool, folder: Path | None = None) -> tuple[Rows, Space]:
        """As of any estimator; rows for a GPU go there, or stay."""
        if hasattr(X, "tocsr") or not wanted(self.backend, X):
            return super()._inside(X, reset=reset, folder=folder)
        from fastclust.cluster.device_rows import device_rows

        screening = ARITHMETIC[self.arithmetic]
        if _streams_there(X):
            from fastclust.cluster.device_streaming import DeviceStreamedRows

            check_width(self, X, reset=reset)
            space = space_of(self.metric, X.shape[1])
            return DeviceStreamedRows(open_rows(X), space, folder, self.backend, screening=screening), space
        if wanted("", X):
            there = device_rows(X, self.backend, finite=True, screening=screening)
            check_width(self, there.matrix, reset=reset)
        else:
            there = device_rows(check_rows(self, X, reset=reset), self.backend, finite=False, screening=screening)
        space = space_of(self.metric, there.shape[1])
        if space.name == "euclidean":
            return there, space
        return type(there)(space.enter_there(there.matrix), self.backend, screening=screening), space

    def _settled(self) -> dict[str, Any]:
        """Return the parameters that a checkpoint goes by."""
        params: dict[str, Any] = self.get_params(deep=False)
        return params

    def _check_parameters(self) -> None:
        check_integer("n_clusters", self.n_clusters)
        check_integer("max_iter", self.max_iter)
        if self.n_init != "auto":
            check_integer("n_init", self.n_init)
        check_number("tol", self.tol)
        if self.algorithm not in _BOUNDS:
            raise InputError("algorithm", repr(self.algorithm), ", ".join(_BOUNDS))
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warnings.warn(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
                stacklevel=3,
            )
        on_gpu = self.arithmetic in ARITHMETIC and self.backend in ("triton", "cuda")
        if self.arithmetic != "exact" and not on_gpu:
            raise BackendError(
                f"arithmetic={self.arithmetic!r}: backend={self.backend!r} does not do this. Allowed: exact; with "
                "backend='triton' or 'cuda' certified, half, tf32 and split, too."
            )


def _streams_there(X: Any) -> bool:
    """Whether rows go to the GPU block by block."""
    from fastclust.cluster.device_streaming import streams_there
    from fastclust_kernels.devices import device_for_kernels

    return streams_there(X, device_for_kernels())


def warn_of_duplicates(found: int, wanted: int) -> None:
    """Warn the caller of a fit that some of its clusters have no rows."""
    warnings.warn(
        f"Number of distinct clusters ({found}) found smaller than n_clusters ({wanted}). "
        "Possibly due to duplicate points in X.",
        ConvergenceWarning,
        stacklevel=3,
    )
