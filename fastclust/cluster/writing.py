"""Labels of all rows of a source, as Parquet files that a kill leaves whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.cluster.streaming import StreamedRows
from fastclust.data import ResultFolder, open_rows
from fastclust.data.mapping import digest_of
from fastclust.data.results import MOST, Work
from fastclust.errors import InputError, InputTypeError
from fastclust_kernels.assign import assign, distances_to_own

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from fastclust.cluster.spaces import Space

__all__ = ["assignment"]

#: Labels that are looked at together: there may be more than memory holds.
_TOGETHER = 1 << 22


def assignment(
    X: Any,
    folder: str | os.PathLike[str],
    *,
    centers: NDArray[Any],
    space: Space,
    backend: str = "auto",
    labels: Any = None,
    most: int = MOST,
) -> Work:
    """What writes ``row``, ``label`` and ``distance`` (in the space) of each row; ``labels`` where they are known.

    Raises
    ------
    InputError, InputTypeError
        Labels that are not integers below the number of centres, one a row.
    PreconditionError
        A folder with the results of other rows, centres or labels.
    """
    rows = StreamedRows(open_rows(X), space)
    given = None if labels is None else _checked(np.asarray(labels), len(rows.matrix), len(centers))

    def compute(block: NDArray[Any], start: int) -> dict[str, NDArray[Any]]:
        inside = rows.change(block)
        if given is None:
            found = assign(inside, centers, backend=backend).labels
        else:
            found = np.array(given[start : start + len(inside)], np.int32)
        return {"label": found, "distance": np.sqrt(distances_to_own(inside, centers, found))}

    source = rows.matrix
    what = f"labels of {digest_of([centers, *space.tensors().values()])}"
    if given is not None:
        parts = (given[at : at + _TOGETHER].astype(np.int32) for at in range(0, len(given), _TOGETHER))
        what += f", given: {digest_of(parts)}"
    return Work(ResultFolder(folder, source, what, most=most), source, compute, rows.block)


def _checked(labels: NDArray[Any], n: int, k: int) -> NDArray[Any]:
    if labels.dtype.kind not in "iu":
        raise InputTypeError("labels", f"dtype {labels.dtype}", "integers")
    if labels.shape != (n,):
        raise InputError("labels", f"shape {labels.shape}", f"({n},), one a row")
    for at in range(0, n, _TOGETHER):
        part = labels[at : at + _TOGETHER]
        low, high = int(part.min()), int(part.max())
        if low < 0 or high >= k:
            raise InputError("labels", f"{low}..{high}", f"0..{k - 1}, a centre each")
    return labels
