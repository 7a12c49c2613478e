"""Rows of each cluster, in one pass whatever the number of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError
from fastclust.neighbors.metrics import rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["rows_and_labels", "rows_by_label"]


def rows_and_labels(X: Any, model: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return checked rows ``[n, d]`` and the labels ``[n]`` that ``model`` gave them. Raises InputError."""
    rows = rows_of(X)
    if not hasattr(model, "labels_"):
        raise InputError("model", f"{type(model).__name__} without labels_", "a fitted clustering")
    labels = np.asarray(model.labels_)
    if labels.shape != (len(rows),):
        raise InputError("X", f"{len(rows)} rows", f"{len(labels)}, the rows that the model was fitted on")
    return rows, labels.astype(np.int64, copy=False)


def rows_by_label(labels: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Map each label that occurs to its rows, in rising order."""
    order = np.argsort(labels, kind="stable")
    found, starts = np.unique(labels[order], return_index=True)
    return {int(label): own for label, own in zip(found, np.split(order, starts[1:]), strict=True)}
