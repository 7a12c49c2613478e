"""Which searches scores have settled, and the nearest of all rows where they have not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.neighbors.merging import Nearest
from fastclust_kernels.assign import distances_to_listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["Frame", "Moved", "among_all", "values_of"]

_UNIT = float(np.finfo(np.float64).eps) / 2
_TINY = float(np.finfo(np.float64).tiny)
#: Rows that are compared again together, at most.
_TOGETHER = 1 << 13


class Moved(NamedTuple):
    """Rows as scores take them."""

    #: [b, d], from the origin of the frame, in its dtype.
    rows: NDArray[Any]
    #: [b]: half the squared length of each, zeros for inner products.
    half: NDArray[Any]

    def longest(self) -> float:
        """The length of the longest, from above."""
        squares = np.einsum("ij,ij->i", self.rows, self.rows, dtype=np.float64)
        return float(np.sqrt(squares.max(initial=0.0)) * (1 + (self.rows.shape[1] + 4) * _UNIT))


class Frame(NamedTuple):
    """Where the origin of scores lies, and their dtype: float32 for all rows, float64 for what that leaves open.

    The score of a row r for a query q, which is least for the nearest, is ``|r'|^2 / 2 - q'.r'``: half the squared
    distance but for a term of the query's own, where q' and r' are q and r less the shift. For inner products it is
    ``-q.r``. Products are sums of d terms in any order.
    """

    #: [d], float32 or float64.
    shift: NDArray[Any]
    inner: bool
    dtype: Any = np.float32

    def move(self, rows: NDArray[Any]) -> Moved:
        """Rows ``[b, d]``, float32 or float64, as scores take them."""
        if self.inner:
            moved = rows.astype(self.dtype, copy=False)
            return Moved(moved, np.zeros(len(rows), self.dtype))
        wide = rows.astype(np.result_type(rows.dtype, self.dtype), copy=False)
        moved = (wide - self.shift).astype(self.dtype, copy=False)
        with np.errstate(over="ignore"):
            half = (0.5 * np.einsum("ij,ij->i", moved, moved, dtype=np.float64)).astype(self.dtype)
        return Moved(moved, half)

    def scores(self, queries: NDArray[Any], rows: Moved) -> NDArray[Any]:
        """Scores ``[q, b]`` for queries that :meth:`move` moved."""
        with np.errstate(over="ignore", invalid="ignore"):
            products: NDArray[Any] = queries @ rows.rows.T
            np.negative(products, out=products)
            if not self.inner:
                products += rows.half
            return products

    def limits(self, queries: NDArray[Any], values: NDArray[np.float64], longest: float) -> NDArray[np.float64]:
        """The largest score ``[q]`` that a row can have which is at ``values`` or nearer; infinite if nothing is known.

        ``values`` ``[q]`` are as of :func:`values_of`; ``queries`` are moved; ``longest`` is the length of the longest
        row (of use for inner products only).

        Let u be the unit roundoff of the frame, v that of float64, a the length of q', and t the distance, rounded up
        by the ``(d + 4) v`` that differences in float64 may be off. Moving a vector costs at most ``1.01 u`` of its
        length (a subtraction and a conversion). A row at t or nearer is no longer than ``a + t`` from the origin, and
        after moving no longer than ``R = (1 + 4 u) (a + t)``: that rows far away exist costs nothing. Its distance from
        q' is at most ``T = t + 1.1 u (a + R)``, so that without rounding its score is at most ``(T^2 - a^2) / 2``. The
        product is off by at most ``g a R``, ``g = d u / (1 - d u)`` (Higham, "Accuracy and Stability of Numerical
        Algorithms", 2002, section 3.1), the half norm by ``u R^2 / 2``, their difference by ``u (R^2 / 2 + a R)``: in
        all, with terms of second order,

            B = (g + 2 u) a R + 1.5 u R^2 + (d + 8) v (a^2 + R^2) + (d + 4) times the smallest normal number

        in which the third term is for lengths and this bound itself, the last for products too small for the dtype.
        Where ``a^2 + R^2`` nears the largest number, products may overflow and nothing is known. For inner products R
        is ``longest``, moving is a conversion, at most ``2.1 u a R``, and the limit is the value plus that and B.
        """
        d = queries.shape[1]
        unit, largest = float(np.finfo(self.dtype).eps) / 2, float(np.finfo(self.dtype).max) / 8
        tiny = float(np.finfo(self.dtype).tiny)
        if d * unit > 0.5:
            return np.full(len(queries), np.inf)
        sums = d * unit / (1 - d * unit)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
            a = np.sqrt(squares) * (1 + (d + 4) * _UNIT)
            if self.inner:
                reach = np.full(len(a), longest)
                limits = values + 2.1 * unit * a * reach
            else:
                t = np.sqrt(values * (1 + 2 * (d + 4) * _UNIT) + d * _TINY) * (1 + 4 * _UNIT)
                reach = (1 + 4 * unit) * (a + t)
                far = t + 1.1 * unit * (a + reach)
                limits = 0.5 * (far * far - squares)
            limits = limits + (sums + 2 * unit) * a * reach + 1.5 * unit * reach * reach
            size = a * a + reach * reach
            limits = limits + (d + 8) * _UNIT * size + (d + 4) * tiny
            return np.where(np.isfinite(limits) & (size <= largest), limits, np.inf)


def values_of(
    rows: NDArray[Any], queries: NDArray[Any], listed: NDArray[np.int64], *, inner: bool
) -> NDArray[np.float64]:
    """What is ranked by: squared distances by differences, or negative inner products, in float64: ``[q, m]``.

    ``listed`` ``[q, m]`` has numbers of rows; what is negative is infinitely far. A pair has the same bits always.
    """
    if not inner:
        return distances_to_listed(queries, rows, listed)
    out = np.full(listed.shape, np.inf)
    step = max(1, 2**22 // (listed.shape[1] * rows.shape[1]))
    for start in range(0, len(queries), step):
        named = listed[start : start + step]
        near = rows[np.maximum(named, 0)].astype(np.float64)
        near *= queries[start : start + step, None]
        out[start : start + step] = np.where(named < 0, np.inf, -near.sum(axis=2))
    return out


def among_all(
    queries: NDArray[Any],
    values: NDArray[np.float64],
    longest: float,
    blocks: Iterable[tuple[int, NDArray[Any]]],
    frame: Frame,
    k: int,
    cells: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The k nearest of all rows, by differences in float64: values and numbers ``[q, k]``, ties by number.

    Compared are the rows whose scores in float64 are within what a row can have that is as near as ``values`` ``[q]``,
    which is no less than the value of the k-th nearest; infinite for all rows.

    ``blocks`` are rows, each with the number of its first one; ``cells`` numbers may be worked on together.
    """
    wide = Frame(frame.shift.astype(np.float64), frame.inner, np.float64)
    moved = wide.move(queries).rows
    limits = wide.limits(moved, values, longest)
    best = Nearest(len(queries), k)
    for first, block in blocks:
        high = max(1, min(_TOGETHER, cells // (2 * block.shape[1])))
        for low in range(0, len(block), high):
            part = block[low : low + high]
            rows = wide.move(part)
            step = max(1, cells // (2 * len(part)))
            for at in range(0, len(queries), step):
                some = slice(at, min(at + step, len(queries)))
                near = ~(wide.scores(moved[some], rows) > limits[some, None])
                listed = _listed(near)
                exact = values_of(part, queries[some], listed, inner=wide.inner)
                best.merge(some, exact, np.where(listed < 0, -1, listed + first + low))
    return best.scores, best.numbers


def _listed(near: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers of the columns of each line that are true ``[q, m]``, rising, with -1 behind them."""
    counts = near.sum(axis=1)
    listed = np.full((len(near), int(counts.max(initial=0))), -1, np.int64)
    lines, columns = np.nonzero(near)
    listed[lines, np.arange(len(lines)) - np.repeat(np.cumsum(counts) - counts, counts)] = columns
    return listed
