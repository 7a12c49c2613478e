"""Metrics of neighbour search: rows are mapped so that an engine needs only Euclidean distances or inner products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.data import RowSource
from fastclust.data.limits import floating
from fastclust.errors import InputError
from fastclust.metric import MahalanobisMetric
from fastclust_kernels import arrays, checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Metric", "metric_of", "rows_of", "without_itself"]

_NAMES = ("euclidean", "cosine", "inner_product")


class Metric(NamedTuple):
    """A metric by name, with the fitted map where it is a Mahalanobis metric."""

    name: str
    map: MahalanobisMetric | None = None

    @property
    def inner(self) -> bool:
        """Whether larger inner products are nearer."""
        return self.name == "inner_product"

    def enter(self, rows: NDArray[Any], *, wide: bool = False) -> NDArray[Any]:
        """Map rows to where the engine searches: to float32 or, with ``wide``, to what holds all their digits.

        Raises InputError for rows without a direction.
        """
        if self.map is not None:
            rows = self.map.transform(rows)
        elif self.name == "cosine":
            lengths = np.linalg.norm(rows, axis=1)
            if not lengths.all():
                raise InputError(
                    "X", f"a row of zeros at {int(np.argmin(lengths))}", "rows with a direction, for cosine"
                )
            rows = rows / lengths[:, None]
        return np.ascontiguousarray(rows, floating(rows.dtype) if wide else np.float32)

    def finish(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn distances among mapped rows into those of the metric: 1 - cos for cosine."""
        return distances**2 / 2 if self.name == "cosine" else distances


def metric_of(metric: Any) -> Metric:
    """Return the metric of a ``metric`` parameter. Raises InputError."""
    if isinstance(metric, MahalanobisMetric):
        if not hasattr(metric, "components_"):
            raise InputError("metric", "a MahalanobisMetric that is not fitted", "a fitted one")
        return Metric("mahalanobis", metric)
    if not isinstance(metric, str) or metric not in _NAMES:
        raise InputError("metric", repr(metric), f"{', '.join(_NAMES)}, or a fitted MahalanobisMetric")
    return Metric(metric)


def rows_of(X: Any, field: str = "X") -> NDArray[Any]:
    """Return checked rows ``[n, d]``. Raises InputError, InputTypeError."""
    return checks.check_matrix(X.read() if isinstance(X, RowSource) else arrays.to_numpy(X, field), field)


def without_itself(
    distances: NDArray[np.float32], found: NDArray[np.int64], start: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Leave out each row itself, numbered from ``start`` on, or the last one where duplicates crowded it out."""
    k = found.shape[1] - 1
    itself = found == np.arange(start, start + len(found))[:, None]
    place = np.where(itself.any(axis=1), itself.argmax(axis=1), k)
    kept = np.arange(k + 1) != place[:, None]
    return distances[kept].reshape(-1, k), found[kept].reshape(-1, k)
