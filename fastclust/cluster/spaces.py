"""The space in which k-means runs: as the rows came, on the sphere, or mapped by a Mahalanobis metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.cluster.chunks import CHUNK
from fastclust.cluster.lloyd import spherical
from fastclust.errors import InputError, InputTypeError
from fastclust.metric import MahalanobisMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Space", "space_of"]


class Space:
    """Euclidean: rows as they came."""

    name = "euclidean"

    def enter(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Map rows into the space."""
        return rows

    def enter_there(self, rows: Any) -> Any:
        """Map rows of a tensor into the space, where they lie."""
        return rows

    def project(self, centers: NDArray[Any]) -> NDArray[Any]:
        """Bring starting centres, drawn from rows inside, to where centres may be."""
        return centers

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What must be saved to enter the space again."""
        return {}

    @staticmethod
    def metric_from(name: str, tensors: dict[str, NDArray[Any]]) -> str | MahalanobisMetric:
        """Return the ``metric`` parameter that was saved."""
        if name != "mahalanobis":
            return name
        metric = MahalanobisMetric.from_factor(tensors["metric_components"].T)
        metric.mean_ = tensors["metric_mean"]
        return metric


class _Sphere(Space):
    """Rows of length one: squared distances are twice one minus the cosine."""

    name = "cosine"

    def enter(self, rows: NDArray[Any]) -> NDArray[Any]:
        if hasattr(rows, "tocsr"):
            scaled: NDArray[Any] = self._scaled(rows)
            return scaled
        lengths = np.linalg.norm(rows, axis=1)
        if not lengths.all():
            raise InputError("X", f"a row of zeros at {int(np.argmin(lengths))}", "rows with a direction, for cosine")
        unit: NDArray[Any] = (rows / lengths[:, None]).astype(rows.dtype)
        return unit

    def enter_there(self, rows: Any) -> Any:
        lengths = rows.double().norm(dim=1, keepdim=True)
        if not bool(lengths.all()):
            raise InputError(
                "X", f"a row of zeros at {int(lengths[:, 0].argmin())}", "rows with a direction, for cosine"
            )
        return (rows / lengths).to(rows.dtype)

    @staticmethod
    def _scaled(rows: Any) -> Any:
        """CSR rows of length one."""
        lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).reshape(-1))
        if not lengths.all():
            raise InputError("X", f"a row of zeros at {int(np.argmin(lengths))}", "rows with a direction, for cosine")
        scaled = rows.copy()
        scaled.data = rows.data / np.repeat(lengths, np.diff(rows.indptr)).astype(rows.dtype)
        return scaled

    def project(self, centers: NDArray[Any]) -> NDArray[Any]:
        return spherical(centers, centers).astype(centers.dtype)


class _Mapped(Space):
    """Rows mapped by a fitted metric."""

    name = "mahalanobis"

    def __init__(self, metric: MahalanobisMetric) -> None:
        self._metric = metric

    def enter(self, rows: NDArray[Any]) -> NDArray[Any]:
        if hasattr(rows, "tocsr"):
            raise InputTypeError("X", "a sparse matrix", "a dense array, for a MahalanobisMetric", "Call .toarray().")
        # In chunks: what a product rounds to may depend on how many rows are in it.
        mapped = np.empty((len(rows), len(self._metric.components_)), rows.dtype)
        for start in range(0, len(rows), CHUNK):
            mapped[start : start + CHUNK] = self._metric.transform(rows[start : start + CHUNK])
        return mapped

    def enter_there(self, rows: Any) -> Any:
        import torch

        mean, components = (
            torch.from_numpy(part).to(rows.device) for part in (self._metric.mean_, self._metric.components_)
        )
        mapped = [(rows[at : at + CHUNK].double() - mean) @ components.T for at in range(0, len(rows), CHUNK)]
        return torch.cat(mapped).to(rows.dtype)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"metric_components": self._metric.components_, "metric_mean": self._metric.mean_}


def space_of(metric: Any, width: int) -> Space:
    """Return the space of a ``metric`` parameter. Raises InputError."""
    if isinstance(metric, MahalanobisMetric):
        if not hasattr(metric, "components_"):
            raise InputError("metric", "a MahalanobisMetric that is not fitted", "a fitted one")
        if metric.n_features_in_ != width:
            raise InputError("metric", f"a metric of {metric.n_features_in_} columns", f"{width} columns, as in X")
        return _Mapped(metric)
    if isinstance(metric, str) and metric == "euclidean":
        return Space()
    if isinstance(metric, str) and metric == "cosine":
        return _Sphere()
    raise InputError("metric", repr(metric), "euclidean, cosine, or a fitted MahalanobisMetric")
