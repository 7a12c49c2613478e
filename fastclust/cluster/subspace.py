"""Leading eigenvectors of one sparse symmetric matrix, as a block that polynomials of the matrix filter.

Source: Y. Zhou, Y. Saad, M. Tiago, J. Chelikowsky, "Self-consistent-field calculations using Chebyshev-filtered
subspace iteration", J. Comp. Phys. 2006, Algorithms 3.1 and 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import eigh

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from numpy.typing import NDArray

__all__ = ["Pairs", "Part", "filtered"]

#: Rows that a thread takes at once. Fixed, so that sums are the same whatever the threads.
_ROWS = 4096
#: What a filter multiplies the last wanted vector by, beside what it damps; products of a filter, at least; and what it
#: multiplies the first vector by, at most: a float32 cannot tell the last ones from that one beyond.
_GAIN, _LEAST, _MOST = 4.0, 12, 1e4
#: A vector may be turned so far (radians). Residuals that float32 reaches. A filter that leaves more than this share of
#: a residual is the last.
_TURN, _FINEST, _STUCK = 0.3, 2e-6, 0.9


class Pairs(NamedTuple):
    """Approximate eigenpairs, the largest values first."""

    #: float64 [p], and float32 [n, p] of length 1.
    values: NDArray[np.float64]
    vectors: NDArray[np.float32]
    #: float64 [p]: lengths of S v - lambda v.
    residuals: NDArray[np.float64]


class Part:
    """S = D^-1/2 A D^-1/2, an affinity's, away from its known eigenvectors of value 1: those of its components."""

    def __init__(
        self,
        graph: sparse.csr_matrix,
        degree: NDArray[np.float64],
        component: NDArray[np.int32],
        pool: Executor,
        tick: Callable[[], None],
    ) -> None:
        """Take A ``[n, n]``, the diagonal of D and the component of each row; ``tick`` is called at each product."""
        n = graph.shape[0]
        self._component = component
        roots = np.sqrt(degree)
        lengths = np.sqrt(np.bincount(component, degree))
        self._known = sparse.csr_matrix((roots / lengths[component], component, np.arange(n + 1))).astype(np.float32)
        self._blocks = []
        for rows in _slices(n):
            block = graph[rows]
            scaled = block.data / (np.repeat(roots[rows], np.diff(block.indptr)) * roots[block.indices])
            self._blocks.append(
                sparse.csr_matrix((scaled.astype(np.float32), block.indices, block.indptr), block.shape)
            )
        self._pool, self.tick = pool, tick

    def __len__(self) -> int:
        return int(self._known.shape[0])

    def dense(self) -> NDArray[np.float64]:
        """Return S less twice the known part, which moves those eigenvalues from 1 to -1: float64 ``[n, n]``."""
        whole: NDArray[np.float64] = sparse.vstack(self._blocks).toarray().astype(np.float64)
        known = self._known.data.astype(np.float64)
        order = np.argsort(self._component, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(self._component[order])) + 1):
            whole[np.ix_(rows, rows)] -= 2 * np.outer(known[rows], known[rows])
        return whole

    def without_known(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the known eigenvectors' share out of ``vectors`` ``[n, p]``, in place."""
        shares = np.asarray(self._known.T @ vectors)
        self._each(lambda rows, _: np.subtract(vectors[rows], self._known[rows] @ shares, out=vectors[rows]))
        return vectors

    def product(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return S times ``vectors``."""
        return self._combined(1.0, vectors, 0.0, None)

    def filter(self, vectors: NDArray[np.float32], end: float, degree: int) -> NDArray[np.float32]:
        """Return T(S) times ``vectors``: T is Chebyshev's polynomial, at most 1 from -1 to ``end``, of a ``degree``."""
        half, middle = (end + 1) / 2, (end - 1) / 2
        before, now = vectors, self._combined(1 / half, vectors, -middle / half, None)
        for _ in range(degree - 1):
            before, now = now, self._combined(2 / half, now, -2 * middle / half, before)
        return now

    def pairs(self, vectors: NDArray[np.float32]) -> Pairs:
        """Return the eigenpairs of S within the span of ``vectors`` (Rayleigh-Ritz)."""
        moved = self.product(vectors)

        def inner(rows: slice, _: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            some, other = vectors[rows].astype(np.float64), moved[rows].astype(np.float64)
            return some.T @ some, some.T @ other

        gram, form = (sum(parts) for parts in zip(*self._each(inner), strict=True))
        scale = 1 / np.sqrt(np.diag(gram))
        values, turn = eigh((form + form.T) / 2 * scale * scale[:, None], gram * scale * scale[:, None])
        values, turn = values[::-1], (turn[:, ::-1] * scale[:, None]).astype(np.float32)
        found = np.empty_like(vectors)

        def turned(rows: slice, _: Any) -> NDArray[np.float64]:
            found[rows] = vectors[rows] @ turn
            away = (moved[rows] @ turn).astype(np.float64) - found[rows] * values
            return np.asarray((away * away).sum(axis=0))

        return Pairs(values, found, np.sqrt(sum(self._each(turned))))

    def _combined(
        self, a: float, vectors: NDArray[np.float32], b: float, before: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Return a S v + b v - before."""
        self.tick()
        result = np.empty_like(vectors)

        def one(rows: slice, block: sparse.csr_matrix) -> None:
            here = result[rows]
            np.multiply(block @ vectors, np.float32(a), out=here)
            if b:
                here += np.float32(b) * vectors[rows]
            if before is not None:
                here -= before[rows]

        self._each(one)
        return result

    def _each(self, work: Callable[[slice, Any], Any]) -> list[Any]:
        return list(self._pool.map(work, _slices(len(self)), self._blocks))


def filtered(part: Part, vectors: NDArray[np.float32], wanted: int, residual: float, rounds: int) -> Pairs:
    """Return eigenpairs near ``vectors`` ``[n, p]``, of which the ``wanted`` first have at most this ``residual``.

    Less of one where eigenvalues are nearer to 1 or to the others than that: a residual r turns a vector by r / gap.
    The p - ``wanted`` others help these to converge. After so many ``rounds``, or where float32 has no more to give,
    they are returned as they are.
    """
    pairs = part.pairs(part.without_known(vectors))
    before = np.inf
    for _ in range(rounds):
        worst, end = float(pairs.residuals[:wanted].max()), float(pairs.values[-1])
        scale = _TURN * min(1 - pairs.values[0], pairs.values[wanted - 1] - end)
        if worst <= min(residual, max(scale, _FINEST)) or (worst <= residual and worst > _STUCK * before):
            break
        before = worst
        degree = _degree(float(pairs.values[0]), float(pairs.values[wanted - 1]), end)
        pairs = part.pairs(part.without_known(part.filter(pairs.vectors, end, degree)))
    return pairs


def _degree(first: float, last: float, end: float) -> int:
    """Return the degree that tells eigenvalues up from ``last`` well from those below ``end``, as far as one can."""

    def angle(value: float) -> float:
        # T_m is cosh(m angle) there: Chebyshev polynomials outside of [-1, 1].
        return float(np.arccosh(1 + max(2 * (value - end) / (end + 1), 1e-12)))

    wanted = np.arccosh(_GAIN) / angle(last)
    return int(np.clip(min(wanted, np.arccosh(_MOST) / angle(first)), _LEAST, 1000))


def _slices(n: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]
