"""What a worker of k-means does: one stretch of the rows, read once and kept, or streamed where it is too large."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.cluster.chunks import Spread, chunk_sums
from fastclust.cluster.inputs import read
from fastclust.cluster.rows import DenseRows
from fastclust.cluster.spaces import Space
from fastclust.cluster.streaming import StreamedRows
from fastclust.data.limits import is_streamed
from fastclust.distributed.pool import received
from fastclust.distributed.threads import limited
from fastclust_kernels.assign import distances_to_own
from fastclust_kernels.checks import check_finite
from fastclust_kernels.update.streamed import Carry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastclust.data import RowSource

__all__ = ["How", "Shard"]


class How(NamedTuple):
    """How labels are found."""

    k: int
    backend: str
    bounds: bool | None


class Shard:
    """Labels and sums of the rows of ``source``.

    All that it returns is a function of the centres it is given: another worker in its place returns the same bits.
    """

    def __init__(self, source: RowSource, space: Space, threads: int | None) -> None:
        self._source, self._space, self._threads = source, space, threads
        self._labels: NDArray[np.int32] | None = None
        self._name, self._how = "", How(0, "", None)
        self._moving: Any = None

    @cached_property
    def streamed(self) -> bool:
        """Whether the rows stay in their files."""
        return is_streamed(self._source)

    @cached_property
    def _rows(self) -> Any:
        # Read when first asked for: what is wrong with rows is then an error of the call, not of the worker's start.
        if self.streamed:
            return StreamedRows(self._source, self._space)
        matrix = np.ascontiguousarray(self._space.enter(np.ascontiguousarray(read(self._source))))
        check_finite(matrix, "X")
        return DenseRows(matrix if matrix.flags.writeable else matrix.copy())

    def moments(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """How many rows there are, their mean and squared deviations, by columns."""
        with limited(self._threads):
            spread = Spread(self._rows.shape[1])
            for _, X in self._blocks():
                spread.add(X)
            return spread.moments()

    def step(
        self, how: How, name: str, centers: Any, before: tuple[str, Any] | None, weights: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], int, str, bool]:
        """Find labels for ``centers``, shared, and call them ``name``.

        Returns sums ``[k, d]``, weights ``[k]``, how many labels differ from those called ``before`` (all, with None),
        the backend, and whether bounds are kept. Labels that this worker does not have, being new, are found first.
        """
        with limited(self._threads):
            each = None if weights is None else received(weights)
            if before is not None and self._name != before[0]:
                for _ in self._pass(how, received(before[1])):
                    pass
            known = before is not None
            carry, changed = Carry(how.k, self._rows.shape[1]), 0
            for here, X, new, old in self._pass(how, received(centers)):
                carry.add(X, None, new, None if each is None else each[here])
                changed += int((new != old).sum()) if known else len(new)
            self._name = name
            sums, total = carry.result()
            return sums, total, changed, self._moving.backend, bool(self._moving.bounded)

    def finish(self, how: How, centers: Any, weights: Any) -> tuple[NDArray[np.int32], list[float]]:
        """Labels for the last centres, and the inertia by chunks."""
        with limited(self._threads):
            each = None if weights is None else received(weights)
            last, sums = received(centers), []
            for here, X, labels, _ in self._pass(how, last):
                distances = distances_to_own(X, last, labels)
                sums += chunk_sums(distances if each is None else distances * each[here])
            self._name = ""
            assert self._labels is not None
            return np.array(self._labels), sums

    def own(self, how: How, centers: Any) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Labels for centres and squared distances to them."""
        with limited(self._threads):
            last = received(centers)
            found = [(labels.copy(), distances_to_own(X, last, labels)) for _, X, labels, _ in self._pass(how, last)]
            self._name = ""
            labels, distances = zip(*found, strict=True)
            return np.concatenate(labels), np.concatenate(distances)

    def nearest(self, centers: Any, backend: str) -> tuple[NDArray[np.int32], NDArray[np.float64], str]:
        """Labels, squared distances and the backend, once, for some other centres."""
        with limited(self._threads):
            found: tuple[NDArray[np.int32], NDArray[np.float64], str] = self._rows.assign(received(centers), backend)
            return found

    def means(self, labels: Any, k: int, weights: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums ``[k, d]`` and weights of the rows as they came, not as they are in the space."""
        with limited(self._threads):
            own, each = received(labels), None if weights is None else received(weights)
            return StreamedRows(self._source, Space()).means(own, k, each)

    def _blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return self._rows.blocks() if self.streamed else iter([(0, self._rows.matrix)])

    def _pass(
        self, how: How, centers: NDArray[Any]
    ) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.int32], NDArray[np.int32]]]:
        """Blocks with their labels now and before; the labels are kept once the block is done with."""
        if self._moving is None or self._how != how:
            self._moving, self._how = self._rows.nearest(how.k, how.backend, how.bounds), how
            self._labels = self._rows.array(np.int32)
        assert self._labels is not None
        # Kernels are compiled for arrays that may be written to, and what comes over the wire may not.
        centers = centers if centers.flags.writeable else centers.copy()
        for start, X in self._blocks():
            here = slice(start, start + len(X))
            labels = self._moving.block(start, X, centers) if self.streamed else self._moving.step(centers)
            yield here, X, labels, self._labels[here]
            self._labels[here] = labels
