"""No kernel stores under a mask where a whole vector would do: some processors do that in microcode."""

from __future__ import annotations

import re

import numba
import numpy as np
import pytest

from fastclust_kernels.arrays import empty_on_lines
from fastclust_kernels.assign import _scores
from fastclust_kernels.mahalanobis import _tiles
from fastclust_kernels.select import _lanes

#: As the assembler of x86 writes it, others' would not match: AVX2's own instructions, and AVX-512's with bits.
UNDER_A_MASK = re.compile(r"v\w*maskmov\w*\s+%[xy]mm\d+, %[xy]mm\d+, [^%]*\(|vmov\w+\s+%[xyz]mm\d+, \S*\([^)]*\) \{%k")

ROWS = np.zeros(8, np.int64)
NUMBERS = np.zeros((8, 16), np.float32)
WHERE = np.zeros((8, 16), np.int32)
PANELS, HALVES = np.zeros((2, 4, 16), np.float32), np.zeros((2, 16), np.float32)


@numba.njit
def keep_best(rows, panels, halves, best, second, where):  # type: ignore[no-untyped-def]
    _scores.keep_best(rows, panels[0], halves[0], 4, np.int32(1), best, second, where)


@numba.njit
def keep_best_of_two(rows, panels, halves, best, second, where):  # type: ignore[no-untyped-def]
    _scores.keep_best_of_two(rows, panels, halves, 4, np.int32(1), best, second, where)


@numba.njit
def keep_top(rows, panels, halves, best, where):  # type: ignore[no-untyped-def]
    _scores.keep_top(rows, panels[0], halves[0], 4, np.int32(1), best, where)


@numba.njit
def keep_top_of_two(rows, panels, halves, best, where):  # type: ignore[no-untyped-def]
    _scores.keep_top_of_two(rows, panels, halves, 4, np.int32(1), best, where)


@numba.njit
def raise_bests(products, halves, bests):  # type: ignore[no-untyped-def]
    _lanes.raise_bests(products, 0, halves, 0, bests, 0)


@numba.njit
def score(rows, panel, half, scores, bests):  # type: ignore[no-untyped-def]
    _tiles.score(rows, panel, half, 4, scores, bests)


CASES = [
    (keep_best, (ROWS, PANELS, HALVES, NUMBERS, NUMBERS, WHERE)),
    (keep_best_of_two, (ROWS, PANELS, HALVES, NUMBERS, NUMBERS, WHERE)),
    (keep_top, (ROWS, PANELS, HALVES, NUMBERS, WHERE)),
    (keep_top_of_two, (ROWS, PANELS, HALVES, NUMBERS, WHERE)),
    (raise_bests, (np.zeros(32, np.float32), np.zeros(32, np.float32), np.zeros(32, np.float32))),
    (score, (ROWS, np.zeros((4, 32), np.float32), np.zeros(32, np.float32), *[np.zeros((8, 32), np.float32)] * 2)),
]


@pytest.mark.parametrize(("kernel", "arguments"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_store_is_whole(kernel, arguments):
    kernel.compile(tuple(numba.typeof(argument) for argument in arguments))
    (assembly,) = kernel.inspect_asm().values()
    assert "mov" in assembly
    assert not UNDER_A_MASK.findall(assembly)


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("vmaskmovps\t%ymm2, %ymm4, (%r10,%r15,4)", True),
        ("vpmaskmovd\t%ymm0, %ymm12, 64(%r8,%rcx,4)", True),
        ("vmovups\t%zmm0, 64(%rax,%rcx,4) {%k1}", True),
        ("vmaskmovps\t64(%r10,%r15,4), %ymm2, %ymm4", False),
        ("vmovups\t%ymm2, 64(%r10,%r15,4)", False),
        ("vmovups\t64(%rax), %zmm0 {%k1} {z}", False),
    ],
)
def test_stores_under_a_mask_are_known_from_loads_and_whole_ones(line, masked):
    assert bool(UNDER_A_MASK.search(line)) == masked


@pytest.mark.parametrize("shape", [(0, 3), (1,), (5, 7, 16), (300, 33)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_an_array_on_lines_begins_at_one(shape, dtype):
    array = empty_on_lines(shape, dtype)
    array[...] = 7
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.ctypes.data % 128 == 0 or not array.size
