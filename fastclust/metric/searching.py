"""What a fitted metric computes: pairs, rows side by side, and the nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastclust.data import RowSource
from fastclust.errors import InputError, InputTypeError
from fastclust_kernels import arrays, checks
from fastclust_kernels import mahalanobis as kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Distances"]


class Distances:
    """The methods of a metric whose map is ``components_`` ``[r, d]``."""

    components_: NDArray[np.float64]
    n_features_in_: int

    def pairwise(self, X: Any, Y: Any = None, *, squared: bool = False, backend: str = "auto", out: Any = None) -> Any:
        """Compute the distances of all pairs: ``[n, m]``.

        Parameters
        ----------
        X, Y
            ``[n, d]`` and ``[m, d]``; ``Y=None`` takes ``X``.
        squared
            Leave the root out.
        backend
            "auto", "numba", "triton" (a CUDA GPU) or "reference".
        out
            ``[n, m]`` to write into, C-contiguous and of the dtype of ``X``. A memory-mapped array may exceed memory.

        Raises
        ------
        InputError, InputTypeError
            Rows of another width, NaN or Inf, an ``out`` of another shape or dtype.
        BackendError
            The backend asked for cannot run this.
        """
        self._checked(X, "X")
        return kernels.pairs(X, X if Y is None else Y, self.components_.T, squared=squared, backend=backend, out=out)[0]

    def pairwise_blocks(
        self, X: Any, Y: Any = None, *, rows: int = 1024, squared: bool = False, backend: str = "auto"
    ) -> Iterator[tuple[int, Any]]:
        """Yield ``(start, distances)``: of up to ``rows`` rows of ``X``, from ``start`` on, to all of ``Y`` ``[m, d]``.

        Distances are ``[rows, m]``, in the dtype of the rows.

        ``X`` may be a row source larger than memory (then ``Y`` must be given); one block is in memory at a time.
        Raises InputError, InputTypeError, BackendError.
        """
        check_is_fitted(self, "components_")
        if isinstance(rows, bool) or not isinstance(rows, int):
            raise InputTypeError("rows", repr(rows), "an integer")
        if rows < 1:
            raise InputError("rows", str(rows), "1 or more")
        if isinstance(X, RowSource):
            if Y is None:
                raise InputError("Y", "None, and X is a row source", "the rows to compare with")
            blocks: Any = X.blocks(rows)
        else:
            checked = self._checked(X, "X")
            Y = X if Y is None else Y
            blocks = (checked[start : start + rows] for start in range(0, len(checked), rows))
        return self._blocks(blocks, Y, squared=squared, backend=backend, wrap=arrays.like(X))

    def _blocks(
        self, blocks: Any, Y: Any, *, squared: bool, backend: str, wrap: Callable[[NDArray[Any]], Any]
    ) -> Iterator[tuple[int, Any]]:
        start = 0
        for block in blocks:
            yield start, wrap(kernels.pairs(block, Y, self.components_.T, squared=squared, backend=backend)[0])
            start += len(block)

    def paired(self, X: Any, Y: Any, *, squared: bool = False, backend: str = "auto") -> Any:
        """Compute the distance of each row of ``X`` ``[n, d]`` to the row of ``Y`` ``[n, d]`` beside it.

        Returns ``[n]``, in kind and dtype with ``X``. Raises InputError, InputTypeError, BackendError.
        """
        self._checked(X, "X")
        return kernels.paired(X, Y, self.components_.T, squared=squared, backend=backend)[0]

    def kneighbors(
        self,
        X: Any,
        Y: Any = None,
        n_neighbors: int = 5,
        *,
        squared: bool = False,
        return_distance: bool = True,
        backend: str = "auto",
    ) -> Any:
        """Find the rows of ``Y`` that are nearest to each row of ``X``, without making the ``[n, m]`` distances.

        Exact: what rounding could reorder is compared again from the original rows. Ties go to the lowest number.

        Parameters
        ----------
        X, Y
            ``[n, d]`` and ``[m, d]``; ``Y=None`` looks among the other rows of ``X``.
        n_neighbors
            How many, at most m.
        squared
            Leave the root out.
        return_distance
            Whether distances are wanted.
        backend
            "auto", "numba", "triton" (a CUDA GPU) or "reference".

        Returns
        -------
        distances, indices
            ``[n, n_neighbors]``, nearest first, in kind with ``X``; indices are int64. Without distances, indices.

        Raises
        ------
        InputError, InputTypeError
            Rows of another width, NaN or Inf, more neighbours than there are rows.
        BackendError
            The backend asked for cannot run this.
        """
        self._checked(X, "X")
        found = kernels.nearest(
            *(X, X if Y is None else Y, self.components_.T, n_neighbors),
            others_only=Y is None,
            squared=squared,
            backend=backend,
        )
        return (found.distances, found.indices) if return_distance else found.indices

    def nearest(self, X: Any, Y: Any, *, squared: bool = False, backend: str = "auto") -> tuple[Any, Any]:
        """Find the row of ``Y`` nearest to each row of ``X``: distances ``[n]`` and numbers ``[n]``.

        As :meth:`kneighbors` with one neighbour: distances in kind with ``X``, int64 numbers, the same errors
        (InputError, InputTypeError, BackendError).
        """
        distances, indices = self.kneighbors(X, Y, 1, squared=squared, backend=backend)
        return distances[:, 0], indices[:, 0]

    def pair_distance(self, pairs: Any) -> Any:
        """Compute the distance within each pair of ``pairs`` ``[p, 2, d]``: float64 ``[p]``.

        Raises InputError, InputTypeError.
        """
        both = self._checked_pairs(pairs)
        total, _ = kernels.paired(both[:, 0].astype(np.float64), both[:, 1].astype(np.float64), self.components_.T)
        return arrays.like(pairs)(total)

    def pair_score(self, pairs: Any) -> Any:
        """Score each pair of ``pairs`` ``[p, 2, d]`` by its distance, negated: more is more alike. float64 ``[p]``.

        Raises InputError, InputTypeError.
        """
        return -self.pair_distance(pairs)

    def get_metric(self) -> Callable[[Any, Any], float]:
        """Return a function of two vectors, for libraries that take one. ``squared=True`` leaves the root out."""
        check_is_fitted(self, "components_")
        components = self.components_.copy()

        def distance(x: Any, y: Any, squared: bool = False) -> float:
            mapped = components @ (np.asarray(x, np.float64) - np.asarray(y, np.float64))
            return float(mapped @ mapped if squared else np.linalg.norm(mapped))

        return distance

    def get_mahalanobis_matrix(self) -> NDArray[np.float64]:
        """Return the precision matrix M ``[d, d]``."""
        check_is_fitted(self, "components_")
        matrix: NDArray[np.float64] = self.components_.T @ self.components_
        return matrix

    def _checked(self, X: Any, field: str) -> NDArray[Any]:
        check_is_fitted(self, "components_")
        rows = checks.check_matrix(arrays.to_numpy(X, field), field)
        if rows.shape[1] != self.n_features_in_:
            raise InputError(field, f"{rows.shape[1]} columns", f"{self.n_features_in_}, as in fit")
        return rows

    def _checked_pairs(self, pairs: Any) -> NDArray[Any]:
        check_is_fitted(self, "components_")
        return checked_pairs(pairs, self.n_features_in_)


def checked_pairs(pairs: Any, width: int | None = None) -> NDArray[Any]:
    """Return ``pairs`` as an array of finite numbers ``[p, 2, d]``. Raises InputError, InputTypeError."""
    both = arrays.to_numpy(pairs, "pairs")
    if both.ndim != 3 or both.shape[1] != 2 or 0 in both.shape or (width is not None and both.shape[2] != width):
        raise InputError("pairs", f"shape {both.shape}", f"[p, 2, {'d' if width is None else width}]")
    if both.dtype.kind not in "fiub":
        raise InputTypeError("pairs", f"dtype {both.dtype}", "numbers")
    checks.check_finite(both, "pairs")
    return both
