"""k-means of many small problems at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.cluster.base import check_integer, check_number
from fastclust.errors import InputError
from fastclust_kernels import arrays, tensors
from fastclust_kernels.batch import assign_batch, update_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchFit", "kmeans_batch"]


class BatchFit(NamedTuple):
    """What :func:`kmeans_batch` found; arrays of the kind that the rows are, where they lie."""

    #: ``[b, k, d]``, in the dtype of the rows; float32 for dtypes below that.
    centers: Any
    #: int32 ``[b, n]``: the nearest of ``centers``.
    labels: Any
    #: float64 ``[b]``: weighted sums of squared distances to the nearest centre.
    inertia: Any
    #: int64 ``[b]``: iterations of each problem.
    n_iter: Any
    backend: str


def kmeans_batch(
    X: Any, centers: Any, *, sample_weight: Any = None, max_iter: int = 300, tol: float = 1e-4, backend: str = "auto"
) -> BatchFit:
    """Lloyd's k-means of b problems of one shape that have nothing to do with each other.

    Such are the codebooks of a product quantizer. On a GPU an iteration of all problems takes the launches of one. A
    problem that has converged stays as it is while others go on, so what comes out for it does not depend on them.

    Parameters
    ----------
    X
        ``[b, n, d]``, float32 or float64; on a GPU float16 and bfloat16 too. NumPy, torch or CuPy.
    centers
        Starting centres ``[b, k, d]``. A centre that has no rows stays where it is.
    sample_weight
        ``[b, n]``, not negative, or None for one each.
    max_iter
        Most iterations, at least 1.
    tol
        Centres of a problem that move by less than this, squared and summed, relative to the mean variance of its
        columns, have converged; so have those whose labels stay.
    backend
        "auto", "numba", "triton", "cuda" (sums in CUDA C++) or "reference", as of ``KMeans``.

    Returns
    -------
    BatchFit
        Centres, labels that belong to them, inertia and iterations of each problem, and the backend's name.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or dtypes, NaN or Inf, negative weights.
    BackendError
        The backend asked for cannot run this.

    Examples
    --------
    >>> import numpy as np
    >>> import fastclust as fc
    >>> X = np.random.default_rng(0).normal(size=(8, 500, 4)).astype(np.float32)
    >>> fit = fc.kmeans_batch(X, X[:, :16])
    >>> fit.labels.shape, fit.centers.shape
    ((8, 500), (8, 16, 4))
    """
    check_integer("max_iter", max_iter)
    check_number("tol", tol)
    there = _There(X) if tensors.wanted(backend, X) else _Here()
    rows, each = there.take(X, "X"), None if sample_weight is None else there.take(sample_weight, "sample_weight")
    # CUDA C++ has sums only.
    found = assign_batch(rows, centers, backend="triton" if backend == "cuda" else backend)
    labels, nearest = found.labels, there.nearest(rows, found.backend)
    if each is not None and (tuple(each.shape) != tuple(labels.shape) or not bool((each >= 0).all())):
        raise InputError("sample_weight", f"shape {tuple(each.shape)}", f"{tuple(labels.shape)}, none negative")
    kept = there.host(there.take(centers, "centers")).astype(there.dtype(rows))
    limit = tol * there.variances(rows)
    done, count = np.zeros(len(kept), bool), np.zeros(len(kept), np.int64)
    for _ in range(max_iter):
        gathered = update_batch(rows, labels, kept.shape[1], weights=each, backend=backend)
        sums, total = there.host(gathered.sums), there.host(gathered.weights)[:, :, None]
        means = np.where(total > 0, sums / np.where(total > 0, total, 1.0), kept).astype(kept.dtype)
        shift = ((means.astype(np.float64) - kept) ** 2).sum(axis=(1, 2))
        kept = np.where(done[:, None, None], kept, means)
        count += ~done
        before, labels = labels, nearest.step(there.take(kept, "centers"))
        done = done | (shift <= limit) | there.host((before == labels).all(1))
        if done.all():
            break
    ended = there.take(kept, "centers")
    away = nearest.distances(ended, labels) if each is None else nearest.distances(ended, labels) * each
    took, name = there.take(count, "n_iter"), backend if backend == "cuda" else found.backend
    return BatchFit(there.back(ended), there.back(labels), there.back(away.sum(1)), there.back(took), name)


class _Nearest:
    """Labels for centres that move; distances to those of the last step."""

    def __init__(self, rows: Any, backend: str) -> None:
        self._rows, self._backend = rows, backend

    def step(self, centers: Any) -> Any:
        found = assign_batch(self._rows, centers, backend=self._backend, check_finite=False)
        self._distances = found.distances
        return found.labels

    def distances(self, centers: Any, labels: Any) -> Any:
        del centers, labels
        return self._distances


class _NearestThere(_Nearest):
    """The same where rows are made ready for the screen once; distances only where they are asked for."""

    def __init__(self, rows: Any, backend: str) -> None:
        from fastclust_kernels.assign.device import DeviceAssignment

        super().__init__(rows, backend)
        # As assign_batch takes them: eight bits are no arithmetic, and a view may have any strides.
        wide = rows if rows.dtype.is_floating_point and rows.dtype.itemsize > 1 else rows.double()
        self._moving = DeviceAssignment(wide.contiguous())

    def step(self, centers: Any) -> Any:
        return self._moving.step(centers).clone()

    def distances(self, centers: Any, labels: Any) -> Any:
        return self._moving.distances(centers, labels)


class _Here:
    """Arrays in host memory."""

    def nearest(self, rows: Any, backend: str) -> _Nearest:
        return _Nearest(rows, backend)

    def take(self, value: Any, field: str) -> Any:
        return arrays.to_numpy(value, field)

    def host(self, value: Any) -> Any:
        return value

    def back(self, value: Any) -> Any:
        return value

    def dtype(self, rows: Any) -> str:
        """Of centres."""
        return {"float32": "float32", "float16": "float32"}.get(rows.dtype.name, "float64")

    def variances(self, rows: Any) -> NDArray[np.float64]:
        """Mean variance of the columns of each problem."""
        found: NDArray[np.float64] = rows.var(axis=1, dtype=np.float64).mean(axis=1)
        return found


class _There(_Here):
    """Tensors where kernels of a GPU run; what is decided about centres is decided on the host."""

    def __init__(self, X: Any) -> None:
        self._kind = tensors.Kind(X)

    def nearest(self, rows: Any, backend: str) -> _Nearest:
        return _NearestThere(rows, backend)

    def take(self, value: Any, field: str) -> Any:
        return tensors.vector(value, field, self._kind.device)

    def host(self, value: Any) -> Any:
        # NumPy has no bfloat16.
        return (value.float() if value.dtype.is_floating_point and value.dtype.itemsize < 4 else value).cpu().numpy()

    def back(self, value: Any) -> Any:
        return self._kind.back(value)

    def dtype(self, rows: Any) -> str:
        return "float32" if rows.dtype.is_floating_point and rows.dtype.itemsize <= 4 else "float64"

    def variances(self, rows: Any) -> NDArray[np.float64]:
        # One problem at a time: a copy in float64 of all would be more than the rows.
        return np.array([float(each.double().var(dim=0, correction=0).mean()) for each in rows])
