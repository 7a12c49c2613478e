"""How a Fourier transform of one length is put together from short ones."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from fastclust_kernels.tsne._butterflies import RADICES, backward, backward_half, forward, forward_half

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Plan", "back", "plan_of", "there"]


class Plan(NamedTuple):
    """How a transform of one length is put together from short ones."""

    #: int64 [passes, 3]: radix, length of the blocks that the pass splits, where its turns begin.
    passes: NDArray[np.int64]
    #: float32 [turns, 2]: exp(-2 pi i j k / block) for each j and k = 1 .. radix - 1.
    turns: NDArray[np.float32]
    #: int32 [length]: the frequency that each row holds between the transforms there and back.
    frequency: NDArray[np.int32]
    #: int32 [length]: the row of each frequency.
    place: NDArray[np.int32]


@lru_cache(maxsize=16)
def plan_of(length: int) -> Plan:
    """Plan a transform of an even ``length`` that has no other factors than 2, 3 and 5."""
    radices = _radices(length)
    passes, turns = [], []
    block, count = length, 0
    frequency, spread = np.zeros(1, np.int64), 1
    for radix in radices:
        step = block // radix
        passes.append((radix, block, count))
        angle = np.arange(step)[:, None] * np.arange(1, radix) / block
        turns.append(np.exp(-2j * np.pi * angle).ravel())
        count += turns[-1].size
        # Row after row: this pass's frequency is the slowest of those that are left.
        frequency = (frequency[:, None] + spread * np.arange(radix)).ravel()
        spread *= radix
        block = step
    turned = np.concatenate(turns)
    return Plan(
        np.array(passes),
        np.stack([turned.real, turned.imag], axis=1).astype(np.float32),
        frequency.astype(np.int32),
        np.argsort(frequency).astype(np.int32),
    )


def _radices(length: int) -> list[int]:
    """The first is even, for it is the one that half of its inputs can be left out of."""
    if length % 2:
        raise ValueError(length)
    first = next(radix for radix in RADICES if radix % 2 == 0 and length % radix == 0)
    found, rest = [first], length // first
    while rest > 1:
        radix = next((radix for radix in RADICES if rest % radix == 0), None)
        if radix is None:
            raise ValueError(length)
        found.append(radix)
        rest //= radix
    return found


@numba.njit(cache=True)
def there(planes, passes, turns):  # type: ignore[no-untyped-def]
    """Frequencies in the plan's order, in place."""
    n = planes.shape[1]
    for number in range(len(passes)):
        radix, block, start = passes[number]
        step = block // radix
        for j in range(step):
            for first in range(j, n, block):
                if number == 0:
                    forward_half(radix, planes, first, step, turns, start + j * (radix - 1))
                else:
                    forward(radix, planes, first, step, turns, start + j * (radix - 1))


@numba.njit(cache=True)
def back(planes, passes, turns):  # type: ignore[no-untyped-def]
    """Upper half of the rows from frequencies in the plan's order, times ``n``, in place."""
    n = planes.shape[1]
    for number in range(len(passes) - 1, -1, -1):
        radix, block, start = passes[number]
        step = block // radix
        for j in range(step):
            for first in range(j, n, block):
                if number == 0:
                    backward_half(radix, planes, first, step, turns, start + j * (radix - 1))
                else:
                    backward(radix, planes, first, step, turns, start + j * (radix - 1))
