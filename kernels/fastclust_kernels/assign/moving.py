"""Assignment of the same rows again and again, to centres that move: what Lloyd's iteration asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.arrays import writable
from fastclust_kernels.assign import BACKENDS, reference
from fastclust_kernels.dispatch import Request, choose, parallel_launch
from fastclust_kernels.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._bounds import Bounds, Groups
    from fastclust_kernels.assign._dense import Frame

__all__ = ["MovingAssignment", "bytes_of_bounds", "sweep_once"]

#: Bounds save more than they cost from this many centres on, or if a row is this long and so is dear to read.
_WORTH_CENTERS, _WORTH_COLUMNS = 17, 256
#: Steps are made with bounds, and bounds for the next step, where that is expected to cost at most so many steps
#: without; from one step to the next the cost usually falls to such a share.
_ANEW, _WORTH, _FALLS = 1.0, 0.9, 0.7
#: Of so many rows one is in the sample that says what to expect, and no fewer and no more than these.
_ONE_IN, _LEAST, _MOST = 128, 32, 256
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
        self._rows = writable(X)
        self._labels = np.zeros(len(X), np.int32)
        self._parts = _parts(len(X), n_centers, X.shape[1] * X.itemsize)
        self._frame: Frame | None = None
        self._before: NDArray[Any] | None = None
        self._groups: Groups | None = None
        self._bounds: Bounds | None = None
        #: Labels and bounds of a sample of the rows, while the others have none.
        self._sample: tuple[NDArray[np.int32], Bounds] | None = None
        self._picked = _sample_of(len(X))
        #: Share of all distances that the last step computed.
        self.share = 0.0

    def rows_at(self, X: NDArray[Any]) -> None:
        """Take the same rows from another place in memory; an empty one lets go of them between steps."""
        self._rows = writable(X)

    def step(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        """Labels int32 ``[n]`` for ``centers`` ``[k, d]`` of the rows' dtype; the next step reuses the array."""
        if self.backend == "reference":
            self.share = 1.0
            return reference.assign(self._rows, centers)[0]
        with np.errstate(over="ignore", invalid="ignore"), parallel_launch():
            return self._step(centers)

    def _step(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        from fastclust_kernels.assign import _bounded, _dense

        if self._frame is None:
            self._frame = _dense.frame_of(centers)
        if not self.bounded:
            return self._without(centers)
        moved = centers - self._frame.shift if self._frame.shifted else centers.copy()
        before, self._before = self._before, moved
        if before is None:
            if not self._asked:
                self._look_at_sample(centers, moved)
            return self._without(centers)
        drift = _drift(moved, before)
        cost, apart, movers = self._expected(centers, drift)
        if self._bounds is not None and cost <= _ANEW:
            assert self._groups is not None
            tiles = _bounded.sweep(
                self._rows, centers, moved, drift, movers, apart, self._groups, self._bounds, self._frame, self._labels
            )
            self.share = tiles * 128 / (len(self._rows) * len(centers))
        elif self._asked or cost * _FALLS <= _WORTH:
            self._anew(centers, moved)
        else:
            self._bounds = None
            self._look_at_sample(centers, moved)
            self._without(centers)
        return self._labels

    def _without(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        """Every distance, and no bounds."""
        from fastclust_kernels.assign import _dense

        assert self._frame is not None
        _dense.assign_dense(self._rows, _dense.place(centers, self._frame), self._labels)
        self.share = 1.0
        return self._labels

    def _anew(self, centers: NDArray[Any], moved: NDArray[Any]) -> None:
        """Every distance, and all bounds."""
        from fastclust_kernels.assign._anew import assign_anew
        from fastclust_kernels.assign._grouping import groups_of

        self._sample = None
        if self._bounds is None:
            # Centres that have found their places make better groups.
            self._groups = groups_of(moved, self._parts)
            self._bounds = _no_bounds(len(self._rows), self._groups, self._parts)
        assert self._groups is not None
        assert self._frame is not None
        assign_anew(self._rows, centers, moved, self._groups, self._bounds, self._frame, self._labels)
        self.share = 1.0

    def _look_at_sample(self, centers: NDArray[Any], moved: NDArray[Any]) -> None:
        """Labels and bounds for a few rows, to see how the next step would fare with bounds."""
        from fastclust_kernels.assign._anew import assign_anew
        from fastclust_kernels.assign._grouping import groups_of

        if self._groups is None:
            self._groups = groups_of(moved, self._parts)
        rows = self._rows[self._picked]
        labels, bounds = np.zeros(len(rows), np.int32), _no_bounds(len(rows), self._groups, self._parts)
        assign_anew(rows, centers, moved, self._groups, bounds, self._frame, labels)
        self._sample = labels, bounds

    def _expected(self, centers: NDArray[Any], drift: NDArray[np.float32]) -> tuple[float, int, Any]:
        """Cost of this step with bounds as a share of one without, how many centres to score apart, and which."""
        from fastclust_kernels.assign._bounded import movers_of
        from fastclust_kernels.assign._bounds import Bounds
        from fastclust_kernels.assign._worth import cost_of_step

        if self._groups is None:
            return np.inf, 0, None
        movers = movers_of(self._groups, self._parts, drift)
        picked = self._picked
        if self._bounds is not None:
            squares, upper, lower = self._bounds
            sample = self._labels[picked], Bounds(squares[picked], upper[picked], lower[picked])
        elif self._sample is not None:
            sample = self._sample
        else:
            return np.inf, 0, movers
        cost, apart = cost_of_step(self._rows[picked], centers, *sample, drift, movers, len(self._groups.members))
        return cost, apart, movers


def sweep_once(X: NDArray[Any], centers: NDArray[Any]) -> None:
    """Make one step with bounds that say nothing, so that its kernel is compiled apart from all others.

    ``X`` ``[n, d]`` and ``centers`` ``[k, d]`` are of one dtype and finite.
    """
    from fastclust_kernels.assign import _bounded, _dense
    from fastclust_kernels.assign._grouping import groups_of

    parts, drift = _parts(len(X), len(centers), X.shape[1] * X.itemsize), np.zeros(len(centers), np.float32)
    frame, groups = _dense.frame_of(centers), groups_of(centers, parts)
    movers, bounds = _bounded.movers_of(groups, parts, drift), _no_bounds(len(X), groups, parts)
    labels, moved = np.zeros(len(X), np.int32), centers - frame.shift
    # What a step before would have left.
    bounds.squares[:] = np.einsum("ij,ij->i", X - frame.shift, X - frame.shift)
    with parallel_launch():
        _bounded.sweep(X, centers, moved, drift, movers, 0, groups, bounds, frame, labels)


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


def _sample_of(n: int) -> NDArray[np.int64]:
    """Numbers of rows, evenly spread."""
    size = min(n, max(_LEAST, min(n // _ONE_IN, _MOST)))
    return np.arange(size) * n // max(1, size)


def _no_bounds(n: int, groups: Groups, parts: int) -> Bounds:
    from fastclust_kernels.assign._bounds import Bounds

    lower = np.zeros((n, len(groups.members) * parts), np.float32)
    return Bounds(np.empty(n), np.full(n, np.inf, np.float32), lower)


def _drift(now: NDArray[Any], before: NDArray[Any]) -> NDArray[np.float32]:
    """How far each centre went, rounded up."""
    difference = now.astype(np.float64) - before
    far = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    up: NDArray[np.float32] = np.nextafter((far * (1 + 1e-12)).astype(np.float32), np.float32(np.inf))
    return up
