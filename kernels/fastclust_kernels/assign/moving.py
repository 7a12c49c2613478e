"""Assignment of the same rows again and again, to centres that move: what Lloyd's iteration asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.assign import BACKENDS, reference
from fastclust_kernels.dispatch import Request, choose, parallel_launch
from fastclust_kernels.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._bounded import Bounds, Groups
    from fastclust_kernels.assign._dense import Frame

__all__ = ["MovingAssignment", "bytes_of_bounds"]

#: Bounds save more than they cost from this many centres on, or if a row is this long and so is dear to read.
_WORTH_CENTERS, _WORTH_COLUMNS = 17, 256
#: A step that computes more than this share of the distances is quicker without bounds; so many steps then go without.
_WORTH_SHARE, _PAUSE = 0.8, 4
#: Bytes of bounds beyond which a group has one.
_MOST_BOUNDS = 96 * 2**20


class MovingAssignment:
    """Nearest centres of ``X`` ``[n, d]`` for one set of centres after the other, with Yinyang's bounds in between.

    Labels are those of :func:`fastclust_kernels.assign.assign`: bounds decide only what is not computed, never what
    comes out (Ding et al., "Yinyang K-Means", ICML 2015).

    Parameters
    ----------
    X
        C-contiguous float32 or float64, finite.
    n_centers
        How many centres there will be.
    backend
        As for ``assign``. The oracle keeps no bounds.
    bounds
        Whether to keep bounds, ``n`` times ``n_centers / 4`` bytes; None to keep them where they are worth it.

    Raises
    ------
    BackendError
        The backend asked for cannot run this.
    """

    def __init__(self, X: NDArray[Any], n_centers: int, *, backend: str = "auto", bounds: bool | None = None) -> None:
        self.backend = choose("assign", BACKENDS, Request("cpu", X.dtype.name), backend).name
        if self.backend not in ("numba", "reference"):
            raise BackendError(
                f"assign: backend={self.backend!r} takes no rows in host memory step by step. "
                "Allowed: auto, numba, reference."
            )
        worth = n_centers >= _WORTH_CENTERS or X.shape[1] >= _WORTH_COLUMNS
        self.bounded = self.backend == "numba" and (worth if bounds is None else bounds)
        self._asked = bounds is not None
        #: Steps without bounds that are left, and how many it were the last time.
        self._pause = self._paused = 0
        self._rows = X
        self._labels = np.full(len(X), -1, np.int32)
        self._frame: Frame | None = None
        self._before: NDArray[Any] | None = None
        self._bounds: Bounds | None = None
        self._groups: Groups | None = None
        #: Share of all distances that the last step computed.
        self.share = 0.0

    def rows_at(self, X: NDArray[Any]) -> None:
        """Take the same rows from another place in memory; an empty one lets go of them between steps."""
        self._rows = X

    def step(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        """Labels int32 ``[n]`` for ``centers`` ``[k, d]`` of the rows' dtype; the next step reuses the array."""
        if self.backend == "reference":
            self.share = 1.0
            return reference.assign(self._rows, centers)[0]
        with np.errstate(over="ignore", invalid="ignore"), parallel_launch():
            return self._step(centers)

    def _step(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        from fastclust_kernels.assign import _bounded, _dense, _vectors
        from fastclust_kernels.assign._grouping import groups_of

        if self._frame is None:
            self._frame = _dense.frame_of(centers)
            # Groups are better made of centres that have found their places; one group is made of any.
            unbounded = not self.bounded or len(centers) > _vectors.PANEL
            self._labels[:] = 0
        else:
            unbounded = not self.bounded or self._pause > 0
            self._pause = max(0, self._pause - 1)
        if unbounded:
            _dense.assign_dense(self._rows, _dense.place(centers, self._frame), self._labels)
            self.share = 1.0
            return self._labels
        moved = centers - self._frame.shift if self._frame.shifted else centers.copy()
        first = self._bounds is None
        if self._bounds is None or self._groups is None:
            n, d = self._rows.shape
            parts = _parts(n, len(centers), d * self._rows.itemsize)
            self._groups = groups_of(moved, parts)
            self._bounds = _bounded.Bounds(
                np.empty(n),
                np.full(n, np.inf, np.float32),
                np.zeros((n, len(self._groups.members) * parts), np.float32),
            )
            drift = np.zeros(len(centers), np.float32)
        else:
            drift = _drift(moved, self._before)
        tiles = _bounded.sweep(
            self._rows, centers, moved, drift, self._groups, self._bounds, self._frame, self._labels, first=first
        )
        self._before = moved
        self.share = tiles * 128 / (len(self._rows) * len(centers))
        narrow = len(self._groups.members) == self._bounds.lower.shape[1]
        if not first and not self._asked and narrow and self.share > _WORTH_SHARE:
            # Where nearly all must be scored, it is quicker without asking; later steps may need less.
            self._bounds = None
            self._pause = self._paused = 2 * self._paused or _PAUSE
        return self._labels


def bytes_of_bounds(n: int, k: int, row_bytes: int) -> int:
    """Bytes that the bounds of ``n`` rows of ``row_bytes`` each take at most, with labels, for ``k`` centres."""
    return n * (16 + 4 * -(-k // 16) * _parts(n, k, row_bytes))


def _parts(n: int, k: int, row_bytes: int) -> int:
    """How many bounds a group of 16 centres has: the more, the fewer rows are read and scored, the more bounds are.

    As many as are an eighth of the row at most, and within the memory that is promised: README.md, Bounds between
    iterations.
    """
    if 4 * max(k, 16) <= row_bytes // 8:
        return 16
    return 4 if k <= row_bytes // 8 and n * k <= _MOST_BOUNDS else 1


def _drift(now: NDArray[Any], before: NDArray[Any] | None) -> NDArray[np.float32]:
    """How far each centre went, rounded up."""
    assert before is not None
    difference = now.astype(np.float64) - before
    far = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    up: NDArray[np.float32] = np.nextafter((far * (1 + 1e-12)).astype(np.float32), np.float32(np.inf))
    return up
