"""Rows against the centres of some groups only: what k-means with very many clusters searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels.assign._dense import move
from fastclust_kernels.assign._exact import squared
from fastclust_kernels.assign._scores import keep_best, pack, score_group, settle
from fastclust_kernels.assign._vectors import PANEL, TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._dense import Frame

__all__ = ["nearest_few", "search"]

_BLOCK = 128


def nearest_few(X: NDArray[Any], centers: NDArray[Any], many: int, frame: Frame) -> NDArray[np.int32]:
    """Numbers ``[n, many]`` of the nearest centres, nearest first."""
    panels, halves, _ = _packed(centers, frame)
    out = np.full((len(X), many), -1, np.int32)
    _few(X, panels, halves, frame.shift, out, numba.get_num_threads())
    return out


def search(
    X: NDArray[Any],
    centers: NDArray[Any],
    first: NDArray[np.int64],
    candidates: NDArray[np.int32],
    labels: NDArray[np.int32],
    frame: Frame,
) -> None:
    """Move each label to the nearest centre among those of its row's candidate groups, if that is nearer.

    Centres ``first[g]`` to ``first[g + 1] - 1`` are group g; ``candidates`` is ``[n, m]``.
    """
    parts = [_packed(centers[first[g] : first[g + 1]], frame) for g in range(len(first) - 1)]
    panels = np.concatenate([part[0] for part in parts])
    halves = np.concatenate([part[1] for part in parts])
    starts = np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])])
    best = np.full(len(X), np.inf)
    _own(X, centers, labels, best)
    for slot in range(candidates.shape[1]):
        group = candidates[:, slot]
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], np.arange(len(first)))
        _search(X, centers, order, ends, first, starts, panels, halves, frame.shift, best, labels)


def _packed(centers: NDArray[Any], frame: Frame) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    moved = centers - frame.shift
    half = 0.5 * np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
    return *pack(moved, half.astype(centers.dtype)), moved


@numba.njit(parallel=True, cache=True)
def _own(X, centers, labels, best):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(X)):
        best[i] = squared(X[i], centers[labels[i]])


@numba.njit(parallel=True, cache=True)
def _few(X, panels, halves, shift, out, threads):  # type: ignore[no-untyped-def]
    n, d = X.shape
    many = out.shape[1]
    tiles = (n + TILE - 1) // TILE
    for thread in numba.prange(threads):
        local = np.empty((TILE, d), X.dtype)
        address = np.empty(TILE, np.int64)
        nothing = np.full(TILE, -1, np.int32)
        scores = np.empty((TILE, PANEL), X.dtype)
        tops = np.empty(TILE, X.dtype)
        kept = np.empty((TILE, many), X.dtype)
        for r in range(TILE):
            address[r] = local.ctypes.data + r * d * X.itemsize
        for tile in range(thread, tiles, threads):
            start = tile * TILE
            count = min(TILE, n - start)
            for r in range(count):
                move(X[start + r], shift, local[r])
            kept[:] = -np.inf
            for g in range(len(panels)):
                score_group(address, panels[g], halves[g], d, nothing, scores, tops)
                for r in range(count):
                    if not tops[r] > kept[r, many - 1]:
                        continue
                    for lane in range(PANEL):
                        score = scores[r, lane]
                        place = many - 1
                        if not score > kept[r, place]:
                            continue
                        while place > 0 and score > kept[r, place - 1]:
                            kept[r, place] = kept[r, place - 1]
                            out[start + r, place] = out[start + r, place - 1]
                            place -= 1
                        kept[r, place] = score
                        out[start + r, place] = g * PANEL + lane


@numba.njit(parallel=True, cache=True)
def _search(X, centers, order, ends, first, starts, panels, halves, shift, best, labels):  # type: ignore[no-untyped-def]
    d = X.shape[1]
    tiles = _BLOCK // TILE
    for group in numba.prange(len(first) - 1):
        local = np.empty((_BLOCK, d), X.dtype)
        address = np.empty((tiles, TILE), np.int64)
        top = np.empty((tiles, TILE, PANEL), X.dtype)
        second = np.empty((tiles, TILE, PANEL), X.dtype)
        where = np.empty((tiles, TILE, PANEL), np.int32)
        found = np.empty(TILE, np.int32)
        tops = np.empty(TILE, X.dtype)
        nexts = np.empty(TILE, X.dtype)
        for start in range(ends[group], ends[group + 1], _BLOCK):
            count = min(_BLOCK, ends[group + 1] - start)
            used = (count + TILE - 1) // TILE
            for i in range(count):
                move(X[order[start + i]], shift, local[i])
            for i in range(used * TILE):
                address[i // TILE, i % TILE] = local.ctypes.data + min(i, count - 1) * d * X.itemsize
            top[:used] = -np.inf
            second[:used] = -np.inf
            where[:used] = 0
            for tile in range(used):
                for p in range(starts[group], starts[group + 1]):
                    number = np.int32(p - starts[group])
                    keep_best(address[tile], panels[p], halves[p], d, number, top[tile], second[tile], where[tile])
                settle(top[tile], second[tile], where[tile], found, tops, nexts)
                for r in range(min(TILE, count - tile * TILE)):
                    i = order[start + tile * TILE + r]
                    c = first[group] + found[r]
                    if c < first[group + 1] and c != labels[i]:
                        distance = squared(X[i], centers[c])
                        if distance < best[i]:
                            best[i] = distance
                            labels[i] = c
