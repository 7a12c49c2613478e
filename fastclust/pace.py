"""How long work will still take, told only once its pace has held for a while."""

from __future__ import annotations

import time
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace"]

#: Seconds below which a stretch of work says nothing about the rest.
_LEAST = 3.0
#: Times that a share must have grown within a stretch.
_GROWN = 3
#: The two halves of a stretch are of one pace if neither is more than this many times the other.
_EVEN = 1.6
#: Nothing is told of a rest that is more than this many times as long as what it is judged by.
_FAR = 20.0
#: Of all the time so far, the stretches that are looked at, the longest first.
_PARTS = (1, 2, 4, 8)
#: Reports that are kept; beyond that every second one is forgotten.
_KEPT = 256


class Pace:
    """Judges from the shares it is given how long the rest will take.

    The first units of work are slow: kernels are compiled, caches filled. So the latest stretch of time is taken whose
    two halves went at about the same pace; if there is none, nothing is told. Nor is it when a unit takes more than
    twice as long as the longest of that stretch: then the pace has been lost.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._times: list[float] = []
        self._shares: list[float] = []

    def seconds_left(self, share: float) -> float | None:
        """Take in that ``share`` of the work, in [0, 1], is done by now; return seconds, or None if none can be told.

        What was done at the first call does not count. A share that goes back begins anew.
        """
        now = self._now()
        if self._shares and share < self._shares[-1]:
            self._times, self._shares = [], []
        if not self._shares or share > self._shares[-1]:
            self._times.append(now)
            self._shares.append(share)
            if len(self._times) > _KEPT:
                self._times, self._shares = self._times[::2], self._shares[::2]
        last = self._times[-1]
        for part in _PARTS:
            long = (last - self._times[0]) / part
            if long < _LEAST:
                break
            pace = self._pace(max(last - long, self._times[0]), now)
            if pace is not None and (rest := (1.0 - share) / pace) <= _FAR * long:
                return max(0.0, rest - (now - last))
        return None

    def _pace(self, begin: float, now: float) -> float | None:
        """Share a second from ``begin`` to the last report, if it was even and still is."""
        last = self._times[-1]
        inside = self._times[bisect_right(self._times, begin) :]
        if len(inside) < _GROWN:
            return None
        longest = max(after - before for before, after in zip([begin, *inside], inside, strict=False))
        middle = self._at((begin + last) / 2)
        first, second = middle - self._at(begin), self._shares[-1] - middle
        if now - last > 2.0 * longest or max(first, second) > _EVEN * min(first, second):
            return None
        return (first + second) / (last - begin)

    def _at(self, when: float) -> float:
        """The share at a time: between two reports it grew evenly."""
        place = min(bisect_right(self._times, when), len(self._times) - 1)
        before, after = self._times[place - 1], self._times[place]
        grown = self._shares[place] - self._shares[place - 1]
        return self._shares[place - 1] + grown * (when - before) / (after - before)
