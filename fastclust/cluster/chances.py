"""Draws rows with a chance proportional to weight times value, looking at a few chunks of them only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.cluster.chunks import CHUNK

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

__all__ = ["Chances"]


class Chances:
    """Chances of n rows; ``weights`` or ``values`` of None are ones."""

    def __init__(self, n: int, weights: NDArray[np.float64] | None, values: NDArray[np.float64] | None) -> None:
        self._n, self._weights, self._values = n, weights, values
        self._taken: dict[int, list[int]] = {}
        chunks = range(-(-n // CHUNK))
        self._sums = np.empty(len(chunks))
        #: Rows that can be drawn.
        self.possible = 0
        for chunk in chunks:
            chances = self._chunk(chunk)
            self._sums[chunk] = chances.sum()
            self.possible += int(np.count_nonzero(chances))

    def draw(self, many: int, random: RandomState) -> NDArray[np.int64]:
        """Draw different rows, at most as many as are possible: ``[many]``."""
        drawn: list[int] = []
        while len(drawn) < many:
            ends = np.cumsum(self._sums)
            targets = random.uniform(size=many - len(drawn)) * ends[-1]
            chunks = np.minimum(np.searchsorted(ends, targets, "right"), len(ends) - 1)
            found: dict[int, int] = {}
            for chunk in np.unique(chunks):
                mine = np.flatnonzero(chunks == chunk)
                chances = self._chunk(int(chunk))
                if not chances.any():
                    continue
                running = np.cumsum(chances)
                before = ends[chunk - 1] if chunk else 0.0
                # Rounding may lead past the last row that has a chance.
                last = np.flatnonzero(chances)[-1]
                inside = np.minimum(np.searchsorted(running, targets[mine] - before, "right"), last)
                found |= dict(zip(mine.tolist(), (inside + chunk * CHUNK).tolist(), strict=True))
            drawn += dict.fromkeys(found[place] for place in sorted(found))
            for row in drawn[-len(found) :] if found else ():
                self._take(row)
        return np.array(drawn, np.int64)

    def _take(self, row: int) -> None:
        chunk = row // CHUNK
        inside = self._taken.setdefault(chunk, [])
        if row % CHUNK not in inside:
            inside.append(row % CHUNK)
            self._sums[chunk] = self._chunk(chunk).sum()

    def _chunk(self, chunk: int) -> NDArray[Any]:
        here = slice(chunk * CHUNK, min(self._n, (chunk + 1) * CHUNK))
        if self._values is None:
            chances = np.ones(here.stop - here.start) if self._weights is None else np.array(self._weights[here])
        else:
            chances = np.array(self._values[here])
            if self._weights is not None:
                chances *= self._weights[here]
        chances[self._taken.get(chunk, [])] = 0.0
        return chances
