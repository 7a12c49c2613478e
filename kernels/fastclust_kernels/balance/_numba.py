"""Successive shortest paths between clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["balance"]


def balance(costs: NDArray[Any], size_min: int, size_max: int, labels: NDArray[np.int32]) -> None:
    """Change ``labels``, at first the cheapest of each row, until all sizes are within the bounds."""
    _balance(costs, size_min, size_max, labels)


@numba.njit(cache=True)
def _insert(x, c, head, after, before):  # type: ignore[no-untyped-def]
    """Put row x first in the list of cluster c."""
    after[x], before[x] = head[c], -1
    if head[c] >= 0:
        before[head[c]] = x
    head[c] = x


@numba.njit(cache=True)
def _remove(x, c, head, after, before):  # type: ignore[no-untyped-def]
    if before[x] >= 0:
        after[before[x]] = after[x]
    else:
        head[c] = after[x]
    if after[x] >= 0:
        before[after[x]] = before[x]


@numba.njit(cache=True)
def _offer(x, a, costs, cheapest, row):  # type: ignore[no-untyped-def]
    """Row x of cluster a may be the cheapest to go to each other cluster."""
    for b in range(costs.shape[1]):
        price = np.float64(costs[x, b]) - np.float64(costs[x, a])
        if b != a and price < cheapest[a, b]:
            cheapest[a, b], row[a, b] = price, x


@numba.njit(cache=True)
def _go(x, a, b, costs, labels, lists, cheapest, row):  # type: ignore[no-untyped-def]
    """Move row x from cluster a to b, and find the cheapest rows of both again."""
    head, after, before = lists
    _remove(x, a, head, after, before)
    _insert(x, b, head, after, before)
    labels[x] = b
    for c in range(costs.shape[1]):
        if row[a, c] == x:
            cheapest[a, c], row[a, c] = np.inf, -1
            other = head[a]
            while other >= 0:
                price = np.float64(costs[other, c]) - np.float64(costs[other, a])
                if price < cheapest[a, c]:
                    cheapest[a, c], row[a, c] = price, other
                other = after[other]
    _offer(x, b, costs, cheapest, row)


@numba.njit(cache=True)
def _balance(costs, low, high, labels):  # type: ignore[no-untyped-def]
    n, k = costs.shape
    lists = (np.full(k, -1, np.int64), np.full(n, -1, np.int64), np.full(n, -1, np.int64))
    size = np.zeros(k, np.int64)
    cheapest = np.full((k, k), np.inf)
    row = np.full((k, k), -1, np.int64)
    for x in range(n - 1, -1, -1):
        a = labels[x]
        size[a] += 1
        _insert(x, a, *lists)
        _offer(x, a, costs, cheapest, row)
    # Node k stands for "anywhere": clusters below their largest size lead to it, it leads to those above the least.
    distance = np.empty(k + 1)
    came = np.empty(k + 1, np.int64)
    while True:
        over = np.maximum(size - high, 0).sum()
        under = np.maximum(low - size, 0).sum()
        if over == 0 and under == 0:
            return
        distance[:] = np.inf
        came[:] = -1
        for c in range(k):
            if size[c] > high:
                distance[c] = 0.0
        if under > over:
            distance[k] = 0.0
        changed = True
        while changed:
            changed = False
            for a in range(k + 1):
                if distance[a] == np.inf:
                    continue
                for b in range(k + 1):
                    if a == k:
                        price = 0.0 if b < k and size[b] > low else np.inf
                    elif b == k:
                        price = 0.0 if size[a] < high else np.inf
                    else:
                        price = cheapest[a, b]
                    # Rounding must not make a circle of moves that cost nothing look like a gain.
                    through = distance[a] + price
                    if through < distance[b] - 1e-12 * (abs(distance[b]) if distance[b] < np.inf else 0.0):
                        distance[b], came[b] = through, a
                        changed = True
        end = -1
        for c in range(k):
            if size[c] < low and (end < 0 or distance[c] < distance[end]):
                end = c
        if over > under and (end < 0 or distance[k] < distance[end]):
            end = k
        b = end
        while came[b] >= 0:
            a = came[b]
            if a < k and b < k:
                _go(row[a, b], a, b, costs, labels, lists, cheapest, row)
                size[a] -= 1
                size[b] += 1
            b = a
