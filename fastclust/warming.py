"""Kernels of a run, compiled in a process beside it: Numba compiles on one core, and a run waits for most of them.

``python -m fastclust.warming`` compiles what is not kept on disk yet and ends, or ends as soon as its standard input
does: with the process that started it, whatever ends that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastclust_kernels.compiling import kept
from fastclust_kernels.notices import COMPILING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMPILING", "beside", "kept", "start"]

#: Rows for more than one block of neighbours, and clusters for more than one group.
_ROWS, _COLUMNS, _CLUSTERS, _NEIGHBORS = 1100, 4, 20, 15
#: The work beside it goes first.
_NICE = 5


def start() -> subprocess.Popen[bytes]:
    """Start the process. It ends when its ``stdin``, or the process that holds it, does."""
    command = [sys.executable, "-P", "-m", __name__]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere)  # noqa: S603 - our own


@contextmanager
def beside() -> Iterator[bool]:
    """Have the process work while the block runs, if no kernels are kept on disk; yields whether it does."""
    if kept():
        yield False
        return
    process = start()
    try:
        yield True
    finally:
        process.kill()
        process.communicate()


def _steps() -> None:
    """Call what a run of float32 rows calls, but not in its order: what it comes to later is compiled first.

    Greedy k-means++ and the first bounds are left out: the run compiles them meanwhile.
    """
    import numpy as np
    from scipy.sparse import csr_matrix

    from fastclust.cluster import KMeans
    from fastclust.maps.host_state import HostState
    from fastclust.neighbors import knn_graph
    from fastclust_kernels.assign.moving import MovingAssignment, sweep_once
    from fastclust_kernels.tsne.affinities import conditional, joint
    from fastclust_kernels.tsne.moving import MovingForces
    from fastclust_kernels.update.moving import MovingSums

    rows = np.random.default_rng(0).standard_normal((_ROWS, _COLUMNS)).astype(np.float32)
    sweep_once(rows, rows[:_CLUSTERS])
    labels = MovingAssignment(rows, _CLUSTERS, bounds=False).step(rows[:_CLUSTERS])
    MovingSums(rows, _CLUSTERS, None).step(labels)
    graph = knn_graph(rows, n_neighbors=_NEIGHBORS)
    KMeans(_NEIGHBORS, init=rows[:_NEIGHBORS], n_init=1, max_iter=3).fit(rows)
    points, apart = np.ascontiguousarray(rows[:, :2]), csr_matrix((_ROWS, _ROWS), dtype=np.float32)
    for method in ("fft", "exact"):
        MovingForces(apart, method=method).repulsion(points)
    map_ = HostState(apart, points, None)
    map_.step(1.0, 1.0, 0.5)
    map_.divergence()
    joint(graph.indices, conditional(graph.distances, _NEIGHBORS / 3))


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    os.nice(_NICE)
    _steps()
