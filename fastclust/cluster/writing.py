"""Labels of all rows of a source, as Parquet files that a kill leaves whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.cluster.streaming import StreamedRows
from fastclust.data import ResultFolder, open_rows
from fastclust.data.mapping import digest_of
from fastclust.data.results import MOST, Work
from fastclust_kernels.assign import assign, distances_to_own

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from fastclust.cluster.spaces import Space

__all__ = ["assignment"]


def assignment(
    X: Any,
    folder: str | os.PathLike[str],
    *,
    centers: NDArray[Any],
    space: Space,
    backend: str = "auto",
    labels: NDArray[np.int32] | None = None,
    most: int = MOST,
) -> Work:
    """What writes ``row``, ``label`` and ``distance`` (in the space) of each row; ``labels`` where they are known.

    Raises PreconditionError for a folder with the results of other rows or centres.
    """
    rows = StreamedRows(open_rows(X), space)

    def compute(block: NDArray[Any], start: int) -> dict[str, NDArray[Any]]:
        inside = rows.change(block)
        if labels is None:
            found = assign(inside, centers, backend=backend).labels
        else:
            found = np.ascontiguousarray(labels[start : start + len(inside)])
        return {"label": found, "distance": np.sqrt(distances_to_own(inside, centers, found))}

    source = rows.matrix
    what = f"labels of {digest_of([centers, *space.tensors().values()])}"
    return Work(ResultFolder(folder, source, what, most=most), source, compute, rows.block)
