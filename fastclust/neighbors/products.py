"""Candidates from products of pairs: blocks of a size for the caches, a thread each, symmetry used."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress
from fastclust_kernels.dispatch import one_blas_thread, threads_given
from fastclust_kernels.select import Largest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fastclust.neighbors.certificates import Moved

__all__ = [
    "BLOCK",
    "Candidates",
    "Search",
    "Share",
    "candidates_of",
    "of_others",
    "of_themselves",
    "products_of",
    "run",
]

#: Rows of a block.
BLOCK = 1024
#: Lines of a product that is looked at before the next one is made: fewer where looking costs as much as the product.
_LINES, _FEW_LINES, _FEW_COLUMNS = 1024, 256, 256
#: Queries that are kept track of together.
_TOGETHER = 1 << 16


class Candidates(NamedTuple):
    """The ``keep`` rows of the least scores (:class:`~fastclust.neighbors.certificates.Frame`) of each query."""

    #: int32 or int64 [q, keep], in no order; -1 where fewer have a score.
    numbers: NDArray[Any]
    #: float32 [q]: no row that is left out has a score below it.
    worst: NDArray[np.float32]


def of_themselves(rows: Moved, keep: int, step: str) -> Candidates:
    """Candidates of the rows among themselves, ``[n, keep]``: a product serves both of its rows."""
    n = len(rows.rows)
    best = Largest(n, keep)
    blocks = [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    locks = [threading.Lock() for _ in blocks]
    together = _lines(rows.rows.shape[1])

    def work(pair: tuple[int, int]) -> None:
        one, other = pair
        across = blocks[other]
        for lines, product in products_of(rows.rows, blocks[one], rows.rows[across], together):
            with locks[one]:
                best.take(lines.start, product, rows.half[across], across.start)
            if other != one:
                with locks[other]:
                    best.take_across(across.start, product, rows.half[lines], lines.start)

    count = len(blocks)
    # Products of blocks with themselves come first: they give each row a floor.
    pairs = [(one, one) for one in range(count)]
    pairs += [(one, other) for one in range(count) for other in range(one + 1, count)]
    run(work, pairs[:count], Share(step, 0, count, len(pairs)))
    run(work, pairs[count:], Share(step, count, len(pairs) - count, len(pairs)))
    return candidates_of(best)


def of_others(rows: Moved, queries: NDArray[np.float32], keep: int, step: str) -> Candidates:
    """Candidates ``[q, keep]`` of queries ``[q, d]`` that were moved as the rows were."""
    found = []
    for start in range(0, len(queries), _TOGETHER):
        search = Search(queries[start : start + _TOGETHER], keep)
        search.look(rows, 0, Share(step, start, len(search.queries), len(queries)))
        found.append(search.found())
    return Candidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


class Share(NamedTuple):
    """What part of a step's work is done with the rows that come now."""

    step: str
    #: Done before, with these rows, and in all.
    before: int
    now: int
    total: int
    message: str = "brute force"


class Search:
    """Queries ``[q, d]`` that meet the rows block by block, all moved alike.

    ``room`` is what products may take, in bytes; None for what is quickest.
    """

    def __init__(self, queries: NDArray[np.float32], keep: int, room: int | None = None) -> None:
        self.queries = queries
        self._lines = _lines(queries.shape[1])
        if room is not None:
            self._lines = max(1, min(self._lines, room // (4 * BLOCK * threads_given())))
        self._best = Largest(len(queries), keep)
        # Few queries are cut up finer, so that all threads have some.
        size = min(BLOCK, max(_FEW_LINES, -(-len(queries) // (4 * threads_given()))))
        self._blocks = [slice(start, min(start + size, len(queries))) for start in range(0, len(queries), size)]

    def look(self, rows: Moved, first: int, share: Share) -> None:
        """Take rows, whose numbers start at ``first``."""

        def work(block: slice) -> None:
            for start in range(0, len(rows.rows), BLOCK):
                across = slice(start, min(start + BLOCK, len(rows.rows)))
                for lines, product in products_of(self.queries, block, rows.rows[across], self._lines):
                    self._best.take(lines.start, product, rows.half[across], first + start)

        run(work, self._blocks, share)

    def found(self) -> Candidates:
        """Candidates ``[q, keep]`` among the rows so far."""
        return candidates_of(self._best)


def _lines(columns: int) -> int:
    return _LINES if columns >= _FEW_COLUMNS else _FEW_LINES


def products_of(
    left: NDArray[np.float32], block: slice, right: NDArray[np.float32], step: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Products of the lines of a block with all of ``right``, ``step`` lines at a time."""
    out = np.empty((min(step, block.stop - block.start), len(right)), np.float32)
    for start in range(block.start, block.stop, step):
        lines = slice(start, min(start + step, block.stop))
        part = out[: lines.stop - start]
        with np.errstate(over="ignore", invalid="ignore"):
            np.dot(left[lines], right.T, out=part)
        yield lines, part


def run(work: Callable[[Any], None], items: Sequence[Any], share: Share) -> None:
    """Do the work of all items on all threads; a listener that raises ends it after those that have begun."""
    with one_blas_thread():
        pool = ThreadPoolExecutor(threads_given())
        try:
            for done, future in enumerate(as_completed([pool.submit(work, item) for item in items]), 1):
                future.result()
                now = share.before + share.now * done / len(items)
                progress.report(share.step, now, share.total, share.message)
        finally:
            pool.shutdown(cancel_futures=True)


def candidates_of(best: Largest) -> Candidates:
    """What was found, as candidates."""
    scores, numbers = best.found()
    return Candidates(numbers, -scores.min(axis=1))
