"""Leading eigenvectors of a normalised affinity, and the coordinates that they give rows, fitted or new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.errors import PreconditionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy import sparse

__all__ = ["Spectrum", "leading", "spectrum_of"]

#: Up to this many rows the dense solver is both faster and safer.
_DENSE = 512
#: Beyond so many rows vectors from coarser graphs come at least as quickly as by Lanczos (bench/README.md).
_MANY = 30_000


def leading(
    matrix: Any,
    count: int,
    *,
    seed: int,
    tick: Callable[[], None],
    tol: float = 1e-4,
    restarts: int | None = None,
    width: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest ``count`` eigenvalues of a symmetric matrix, ascending, and their vectors ``[n, count]``.

    Dense up to 512 rows, else Lanczos with restarts (ARPACK) on a basis of ``width`` vectors; ``tick`` is called at
    each product. With ``restarts`` given, only what has converged by then is returned. Without, raises
    PreconditionError where ARPACK's own limit is passed.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n = matrix.shape[0]
    if n <= _DENSE or count >= n - 1:
        values, vectors = np.linalg.eigh(matrix.toarray())
        return values[-count:], vectors[:, -count:]

    def multiply(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        tick()
        product: NDArray[np.float64] = matrix @ vector
        return product

    operator = LinearOperator((n, n), matvec=multiply, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(n)
    basis = min(n - 1, width or max(3 * count, 32))
    try:
        values, vectors = eigsh(operator, k=count, which="LA", v0=start, tol=tol, ncv=basis, maxiter=restarts)
    except ArpackNoConvergence as error:
        if restarts is None:
            raise PreconditionError(
                f"the {count} leading eigenvectors of {n} rows did not converge: {error}"
            ) from error
        values, vectors = error.eigenvalues, error.eigenvectors
    order = np.argsort(values, kind="stable")
    return values[order], vectors[:, order]


class Spectrum(NamedTuple):
    """A graph's spectral embedding, and what places a new row in it."""

    #: float64 [p], descending, and float64 [n, p], columns of length 1.
    values: NDArray[np.float64]
    vectors: NDArray[np.float64]
    #: float64 [n]: sums of affinities.
    degree: NDArray[np.float64]
    exponent: float
    #: alpha of the weights 1 / (1 - alpha lambda) that eigenvectors count with.
    damping: float = 0.0

    def coordinates(self) -> NDArray[np.float64]:
        """Return the fitted rows' coordinates, of length 1: ``[n, p]``.

        With alpha = 0 those of Ng, Jordan, Weiss (NIPS 2001). Above, inner products of coordinates before they are
        brought to length 1 are those of the rows of (I - alpha S)^-1, as near as p eigenvectors come to it.
        """
        return _directions(self.vectors * self._weights())

    def _weights(self) -> NDArray[np.float64]:
        # Eigenvalues are at most 1, but for rounding.
        weights: NDArray[np.float64] = 1 / (1 - self.damping * np.minimum(self.values, 1))
        return weights

    def extend(self, indices: NDArray[np.int64], cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return coordinates ``[q, p]`` of new rows by the Nystrom formula, of length 1.

        ``indices`` and ``cosines`` ``[q, k]`` are their neighbours among the fitted rows. u(x) = 1 / lambda *
        sum_j a_j / sqrt(d(x) d_j) u_j; d(x) only scales the row, so it drops out. A row without a positive affinity
        takes its nearest neighbour's coordinates. Source: Bengio et al., NIPS 2003.
        """
        weights = np.maximum(cosines, 0.0) ** self.exponent
        weights[~weights.any(axis=1), 0] = 1.0
        weights /= np.sqrt(self.degree[indices])
        placed = np.einsum("qk,qkp->qp", weights, self.vectors[indices])
        # An eigenvalue of 0 says nothing of the graph, and its column nothing of a row.
        said = np.abs(self.values) > 1e-9
        placed *= np.where(said, self._weights() / np.where(said, self.values, 1), 0)
        return _directions(placed)


def spectrum_of(
    graph: sparse.csr_matrix,
    n_components: int,
    *,
    exponent: float,
    seed: int,
    tick: Callable[[], None],
    damping: float = 0.0,
) -> Spectrum:
    """Return the leading eigenvectors of S = D^-1/2 A D^-1/2 of an affinity ``[n, n]`` without empty rows.

    Each connected component has one eigenvector of eigenvalue 1, known in closed form: D^1/2 on its rows. Lanczos from
    one start would find one of these copies only, so they are first moved to -1, the other end of the spectrum. There
    are at least as many eigenvectors as components. Large graphs go through coarser ones (``multilevel``).
    """
    from scipy.sparse.csgraph import connected_components

    from fastclust.cluster.multilevel import leading_by_levels

    count, component = connected_components(graph, directed=False)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    known = np.zeros((len(degree), count))
    known[np.arange(len(degree)), component] = np.sqrt(degree / np.bincount(component, degree)[component])
    values, vectors = np.ones(count), known
    rest = min(n_components, len(degree)) - count
    if rest > 0:
        if len(degree) > _MANY:
            more, beside = leading_by_levels(graph, component, rest, seed=seed, tick=tick)
        else:
            more, beside = _by_lanczos(graph, component, degree, known, rest, seed=seed, tick=tick)
        # A vector's sign is arbitrary: its largest entry is made positive, so that builds of LAPACK agree.
        beside = beside * np.sign(beside[np.abs(beside).argmax(0), np.arange(rest)])
        values = np.concatenate([values, more])
        vectors = np.concatenate([known, beside], axis=1)
    return Spectrum(values, np.ascontiguousarray(vectors), degree, exponent, damping)


def _by_lanczos(
    graph: sparse.csr_matrix,
    component: NDArray[np.int32],
    degree: NDArray[np.float64],
    known: NDArray[np.float64],
    wanted: int,
    *,
    seed: int,
    tick: Callable[[], None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import LinearOperator

    from fastclust.neighbors.affinity import normalised

    transition = normalised(graph)
    roots, scale, count = np.sqrt(degree), 1 / np.bincount(component, degree), known.shape[1]
    if len(degree) <= _DENSE or wanted >= len(degree) - 1:
        deflated: Any = transition - 2 * csr_matrix(known @ known.T)
    else:

        def multiply(vector: NDArray[np.float64]) -> NDArray[np.float64]:
            shares = np.bincount(component, roots * vector, minlength=count) * scale
            product: NDArray[np.float64] = transition @ vector - 2 * roots * shares[component]
            return product

        deflated = LinearOperator(transition.shape, matvec=multiply, dtype=np.float64)
    values, vectors = leading(deflated, wanted, seed=seed, tick=tick)
    return values[::-1], vectors[:, ::-1]


def _directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: NDArray[np.float64] = rows / np.where(lengths > 0, lengths, 1)
    return found
