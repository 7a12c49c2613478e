"""Affinities of t-SNE from the distances to each row's neighbours (van der Maaten and Hinton, 2008, section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.dispatch import parallel_launch
from fastclust_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["conditional", "joint", "uniform"]

#: Newton steps, each of which halves its bracket at least every other time; 8 are usual.
_STEPS = 200
#: Rows that are named, of a task that transposes, so that their places stay near in memory; but at most so many tasks,
#: for each of them goes through all rows.
_RANGE = 32_768
_RANGES = 64
#: Of the entropy, in nats.
_TOLERANCE = 1e-9


def conditional(distances: NDArray[Any], perplexity: float | Sequence[float]) -> NDArray[np.float32]:
    """``p_{j|i}`` of each row's neighbours: Gaussian in the distance, with the row's width set by ``perplexity``.

    ``distances`` is ``[n, k]``, not squared. Where more neighbours than ``perplexity`` are equally near, no width gives
    so little: those get all, in equal parts. Float32 ``[n, k]``; rows sum to 1, and the search is in float64.

    Several perplexities give the mean of their probabilities, each over all k neighbours: multiscale affinities (Lee et
    al., 2015; Kobak and Berens, 2019). Raises InputError for a perplexity below 1 or above k.
    """
    several = [float(each) for each in np.atleast_1d(np.asarray(perplexity, np.float64))]
    if not several or not all(1 <= each <= distances.shape[1] for each in several):
        raise InputError("perplexity", repr(perplexity), f"1..{distances.shape[1]}, the number of neighbours")
    mean = _of_one(distances, several[0])
    for count, each in enumerate(several[1:], 2):
        mean += (_of_one(distances, each) - mean) / np.float32(count)
    return mean


def _of_one(distances: NDArray[Any], perplexity: float) -> NDArray[np.float32]:
    found = np.empty(distances.shape, np.float32)
    with parallel_launch():
        _conditional(distances, float(np.log(perplexity)), found)
    return found


def joint(indices: NDArray[Any], conditionals: NDArray[np.float32]) -> Any:
    """``p_ij = (p_{j|i} + p_{i|j}) / 2n`` as a SciPy CSR matrix, float32, with sorted rows.

    ``indices`` ``[n, k]`` are the neighbours that ``conditionals`` belong to. Raises InputError for an index that no
    row has.
    """
    from scipy.sparse import csr_matrix

    n, k = indices.shape
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < n:
        raise InputError("indices", f"{indices.min()}..{indices.max()}", f"0..{n - 1}")
    sorted_indices, sorted_values = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    with parallel_launch():
        _sort_rows(indices, conditionals, sorted_indices, sorted_values)
        limits = np.linspace(0, n, min(_RANGES, -(-n // _RANGE)) + 1).astype(np.int32)
        starts = np.zeros(n + 1, np.int64)
        _transpose(sorted_indices, sorted_values, limits, starts[1:], *_pairs(0))
        np.cumsum(starts, out=starts)
        sources, mirrored = _pairs(n * k)
        _transpose(sorted_indices, sorted_values, limits, starts[:-1].copy(), sources, mirrored)
        pointers = np.zeros(n + 1, np.int64)
        nothing = np.empty(0, np.int32), np.empty(0, np.float32)
        scale = 1 / (2 * float(conditionals.sum(dtype=np.float64)))
        lengths = np.zeros(n, np.int64)
        _merge(sorted_indices, sorted_values, starts, sources, mirrored, scale, lengths, pointers, *nothing)
        np.cumsum(lengths, out=pointers[1:])
        merged, values = np.empty(pointers[-1], np.int32), np.empty(pointers[-1], np.float32)
        _merge(sorted_indices, sorted_values, starts, sources, mirrored, scale, lengths, pointers, merged, values)
    return csr_matrix((values, merged, pointers), shape=(n, n))


def uniform(indices: NDArray[Any], *, symmetrize: str = "max") -> Any:
    """Affinities that are the same for every neighbour, as a SciPy CSR matrix, float32, that sums to 1.

    ``indices`` is ``[n, k]``. With ``symmetrize="max"`` two rows are neighbours where either names the other, and all
    entries are equal; with ``"mean"`` an entry where both name each other counts twice (Boehm et al., 2022). Raises
    InputError.
    """
    if symmetrize not in ("max", "mean"):
        raise InputError("symmetrize", repr(symmetrize), "max, mean")
    P = joint(indices, np.ones(indices.shape, np.float32))
    if symmetrize == "max":
        P.data[:] = 1 / P.nnz
    return P


def _pairs(count: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """So many rows and values, side by side: one place in memory for both."""
    pairs = np.empty((count, 2), np.int32)
    return pairs[:, 0], pairs.view(np.float32)[:, 1]


@numba.njit(parallel=only_loops(), cache=True, error_model="numpy")
def _conditional(distances, wanted, found):  # type: ignore[no-untyped-def]
    n, k = distances.shape
    for block in numba.prange((n + 63) // 64):
        squared, weight = np.empty(k), np.empty(k)
        for i in range(np.int64(block) * 64, min(n, (np.int64(block) + 1) * 64)):
            # From the nearest on: a factor on all weights changes nothing, and one of them is always 1.
            nearest = np.inf
            for j in range(k):
                squared[j] = np.float64(distances[i, j]) ** 2
                nearest = min(nearest, squared[j])
            mean = 0.0
            for j in range(k):
                squared[j] -= nearest
                mean += squared[j] / k
            # The entropy falls with the precision; as a function of its logarithm, Newton is safe inside a bracket.
            precision = 1.0 / mean if mean > 0 else 1.0
            low, high = 0.0, np.inf
            for _ in range(_STEPS):
                total, first, second = 0.0, 0.0, 0.0
                for j in range(k):
                    weight[j] = np.exp(-precision * squared[j])
                    total += weight[j]
                    first += weight[j] * squared[j]
                    second += weight[j] * squared[j] * squared[j]
                first /= total
                second /= total
                excess = np.log(total) + precision * first - wanted
                if abs(excess) < _TOLERANCE:
                    break
                if excess > 0:
                    low = precision
                else:
                    high = precision
                slope = precision * precision * (second - first * first)
                step = excess / slope if slope > 0 else np.inf
                proposed = precision * np.exp(min(max(step, -2.0), 2.0))
                if not low < proposed < high:
                    proposed = 2 * precision if high == np.inf else 0.5 * (low + high)
                if proposed == precision or proposed > 1e300:
                    break
                precision = proposed
            for j in range(k):
                found[i, j] = weight[j] / total


@numba.njit(parallel=only_loops(), cache=True)
def _sort_rows(indices, values, sorted_indices, sorted_values):  # type: ignore[no-untyped-def]
    n, k = indices.shape
    for i in numba.prange(n):
        for j in range(k):
            sorted_indices[i, j] = indices[i, j]
            sorted_values[i, j] = values[i, j]
        _sort(sorted_indices[i], sorted_values[i])


@numba.njit(cache=True, nogil=True)
def _sort(numbers, values):  # type: ignore[no-untyped-def]
    """By number: Shell's sort, quick for a hundred of them, and Numba's own takes four seconds more to compile."""
    gap = 1
    while gap < len(numbers) // 3:
        gap = 3 * gap + 1
    while gap:
        for c in range(gap, len(numbers)):
            number, value = numbers[c], values[c]
            e = c
            while e >= gap and numbers[e - gap] > number:
                numbers[e], values[e] = numbers[e - gap], values[e - gap]
                e -= gap
            numbers[e], values[e] = number, value
        gap //= 3


@numba.njit(cache=True, nogil=True)
def _first(row, least):  # type: ignore[no-untyped-def]
    """Place of the first number of a rising ``row`` that is not below ``least``."""
    low, high = 0, len(row)
    while low < high:
        middle = (low + high) // 2
        if row[middle] < least:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(parallel=only_loops(), cache=True)
def _transpose(indices, values, limits, places, sources, mirrored):  # type: ignore[no-untyped-def]
    """Who names each row, in rising order, as rows come in rising order; only how many while ``sources`` is empty.

    A range of rows that are named to a task: their places, which move on by one for each, stay near.
    """
    n, k = indices.shape
    writes = len(sources) > 0
    for task in numba.prange(len(limits) - 1):
        least, end = limits[task], limits[task + 1]
        for i in range(n):
            row = indices[i]
            for j in range(_first(row, least), k):
                if row[j] >= end:
                    break
                place = places[row[j]]
                if writes:
                    sources[place] = i
                    mirrored[place] = values[i, j]
                places[row[j]] = place + 1


@numba.njit(parallel=only_loops(), cache=True)
def _merge(indices, values, starts, sources, mirrored, scale, lengths, pointers, merged, sums):  # type: ignore[no-untyped-def]
    """Both sorted lists of each row as one; only their lengths while ``merged`` is empty."""
    n, k = indices.shape
    writes = len(merged) > 0
    for i in numba.prange(n):
        a, b, end, place = 0, starts[i], starts[i + 1], pointers[i]
        count = 0
        while a < k or b < end:
            left = indices[i, a] if a < k else n
            right = sources[b] if b < end else n
            column = min(left, right)
            total = 0.0
            while a < k and indices[i, a] == column:
                total += values[i, a]
                a += 1
            while b < end and sources[b] == column:
                total += mirrored[b]
                b += 1
            if writes:
                merged[place + count] = column
                sums[place + count] = total * scale
            count += 1
        lengths[i] = count
