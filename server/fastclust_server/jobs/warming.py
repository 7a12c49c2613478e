"""What a worker does before its first job: k-means' kernels are compiled, or loaded from where Numba keeps them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["warming"]

#: Enough rows for every kind of start, and clusters for bounds on groups of centres.
_ROWS, _COLUMNS, _CLUSTERS = 256, 4, 20


def warming() -> Iterator[str]:
    """Fit a few rows in each way that compiles kernels of its own; yield what was fitted, after each."""
    import numpy as np

    from fastclust.cluster import KMeans
    from fastclust.data import open_rows

    random = np.random.default_rng(0)
    for dtype, algorithm in product(("float32", "float64"), ("elkan", "lloyd")):
        rows = random.standard_normal((_ROWS, _COLUMNS)).astype(dtype)
        rows.setflags(write=False)
        model = KMeans(_CLUSTERS, n_init=1, max_iter=3, algorithm=algorithm, random_state=0)
        model.fit(open_rows(rows))
        yield f"{dtype}, {algorithm}"
