"""Candidates from products of all pairs: blocks of a size for the caches, a thread each, symmetry used."""

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

__all__ = ["Candidates", "of_others", "of_themselves"]

#: Rows of a block.
_BLOCK = 1024
#: Lines of a product that is looked at before the next one is made: fewer where looking costs as much as the product.
_LINES, _FEW_LINES, _FEW_COLUMNS = 1024, 256, 256
#: Queries that are kept track of together.
_TOGETHER = 1 << 16


class Candidates(NamedTuple):
    """The ``keep`` rows of the least scores (:class:`~fastclust.neighbors.certificates.Frame`) of each query."""

    #: int64 [q, keep], in no order; -1 where fewer have a score.
    numbers: NDArray[np.int64]
    #: float32 [q]: no row that is left out has a score below it.
    worst: NDArray[np.float32]


def of_themselves(rows: Moved, keep: int, step: str) -> Candidates:
    """Candidates of the rows among themselves, ``[n, keep]``: a product serves both of its rows."""
    n = len(rows.rows)
    best = Largest(n, keep)
    blocks = [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
    locks = [threading.Lock() for _ in blocks]

    def work(pair: tuple[int, int]) -> None:
        one, other = pair
        across = blocks[other]
        for lines, product in _products(rows.rows, blocks[one], rows.rows[across]):
            with locks[one]:
                best.take(lines.start, product, rows.half[across], across.start)
            if other != one:
                with locks[other]:
                    best.take_across(across.start, product, rows.half[lines], lines.start)

    count = len(blocks)
    # Products of blocks with themselves come first: they give each row a floor.
    pairs = [(one, one) for one in range(count)]
    pairs += [(one, other) for one in range(count) for other in range(one + 1, count)]
    _run(work, pairs[:count], 0, len(pairs), step)
    _run(work, pairs[count:], count, len(pairs), step)
    return _candidates([best])


def of_others(rows: Moved, queries: NDArray[np.float32], keep: int, step: str) -> Candidates:
    """Candidates ``[q, keep]`` of queries ``[q, d]`` that were moved as the rows were."""
    found = []
    # Few queries are cut up finer, so that all threads have some.
    size = min(_BLOCK, max(_FEW_LINES, -(-len(queries) // (4 * threads_given()))))
    blocks = [slice(start, min(start + size, len(queries))) for start in range(0, len(queries), size)]
    group = max(1, _TOGETHER // size)
    for first in range(0, len(blocks), group):
        mine = blocks[first : first + group]
        origin = mine[0].start
        best = Largest(mine[-1].stop - origin, keep)

        def work(block: slice, best: Largest = best, origin: int = origin) -> None:
            for start in range(0, len(rows.rows), _BLOCK):
                across = slice(start, min(start + _BLOCK, len(rows.rows)))
                for lines, product in _products(queries, block, rows.rows[across]):
                    best.take(lines.start - origin, product, rows.half[across], start)

        _run(work, mine, first, len(blocks), step)
        found.append(best)
    return _candidates(found)


def _products(
    left: NDArray[np.float32], block: slice, right: NDArray[np.float32]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Products of the lines of a block with all of ``right``, some lines at a time."""
    step = _LINES if left.shape[1] >= _FEW_COLUMNS else _FEW_LINES
    out = np.empty((min(step, block.stop - block.start), len(right)), np.float32)
    for start in range(block.start, block.stop, step):
        lines = slice(start, min(start + step, block.stop))
        part = out[: lines.stop - start]
        with np.errstate(over="ignore", invalid="ignore"):
            np.dot(left[lines], right.T, out=part)
        yield lines, part


def _run(work: Callable[[Any], None], items: Sequence[Any], before: int, total: int, step: str) -> None:
    """Do the work of all items on all threads; a listener that raises ends it after those that have begun."""
    with one_blas_thread():
        pool = ThreadPoolExecutor(threads_given())
        try:
            for done, future in enumerate(as_completed([pool.submit(work, item) for item in items]), before + 1):
                future.result()
                progress.report(step, done, total, "brute force")
        finally:
            pool.shutdown(cancel_futures=True)


def _candidates(found: list[Largest]) -> Candidates:
    scores, numbers = zip(*(best.found() for best in found), strict=True)
    return Candidates(np.concatenate(numbers), -np.concatenate([part.min(axis=1) for part in scores]))
