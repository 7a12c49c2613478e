"""Forces of t-SNE: attraction along the affinities, repulsion between all points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust_kernels import arrays, checks
from fastclust_kernels.dispatch import Backend, Request, choose
from fastclust_kernels.errors import InputError, InputTypeError
from fastclust_kernels.tsne import reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ATTRACTION_BACKENDS", "REPULSION_BACKENDS", "Attraction", "Repulsion", "attraction", "repulsion"]


class Attraction(NamedTuple):
    """``sum_j p_ij w_ij (y_i - y_j)`` for each point i, with ``w = 1 / (1 + |y_i - y_j|^2)``."""

    #: [n, dimensions], of the kind that the points are.
    forces: Any
    backend: str


class Repulsion(NamedTuple):
    """``sum_j w_ij^2 (y_i - y_j)`` for each point i; divided by ``normalization`` it is t-SNE's repulsion."""

    #: [n, dimensions], of the kind that the points are.
    forces: Any
    #: Z, the sum of w over all ordered pairs of different points.
    normalization: float
    #: "fft", "barnes_hut" or "exact".
    method: str
    backend: str


def _attraction_numba(P: Any, Y: NDArray[Any]) -> NDArray[np.float32]:
    from fastclust_kernels.tsne.moving import MovingForces

    return MovingForces(P).attraction(Y.astype(np.float32))


def _repulsion_numba(Y: NDArray[Any], method: str) -> tuple[NDArray[np.float32], float, str]:
    from scipy.sparse import csr_matrix

    from fastclust_kernels.tsne.moving import MovingForces

    forces = MovingForces(csr_matrix((len(Y), len(Y))), method=method)
    found, total = forces.repulsion(Y.astype(np.float32))
    return found, total, forces.method


def _repulsion_reference(Y: NDArray[Any], method: str) -> tuple[NDArray[np.float64], float, str]:
    if method not in ("auto", "exact"):
        raise InputError("method", repr(method), "auto or exact; the oracle takes all pairs")
    return *reference.repulsion(Y), "exact"


#: Tolerances are relative root mean square errors; README.md, Error.
ATTRACTION_BACKENDS = (
    Backend("numba", _attraction_numba, ("cpu",), ("float32",), {"float32": 1e-5}, ("numba",)),
    Backend("reference", reference.attraction, ("cpu",), ("float32", "float64"), automatic=False),
)
REPULSION_BACKENDS = (
    Backend("numba", _repulsion_numba, ("cpu",), ("float32",), {"float32": 0.01}, ("numba", "scipy")),
    Backend("reference", _repulsion_reference, ("cpu",), ("float32", "float64"), automatic=False),
)


def attraction(P: Any, Y: Any, *, backend: str = "auto") -> Attraction:
    """Compute the attraction between points along their affinities.

    Parameters
    ----------
    P
        SciPy CSR matrix ``[n, n]``, symmetric.
    Y
        Points ``[n, dimensions]``, 1 to 3 dimensions; float32, or float64 for the oracle.
    backend
        "auto", "numba" or "reference".

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or types, NaN or Inf.
    BackendError
        The backend asked for cannot run this.
    """
    points = _points(Y)
    if getattr(P, "format", "") != "csr":
        raise InputTypeError("P", type(P).__name__, "a SciPy CSR matrix")
    if P.shape != (len(points), len(points)):
        raise InputError("P", f"shape {P.shape}", f"({len(points)}, {len(points)}), a row and a column for each point")
    checks.check_finite(P.data, "P")
    chosen = choose("attraction", ATTRACTION_BACKENDS, Request("cpu", points.dtype.name), backend)
    return Attraction(arrays.like(Y)(chosen.run(P, points)), chosen.name)


def repulsion(Y: Any, *, method: str = "auto", backend: str = "auto") -> Repulsion:
    """Compute the repulsion between all points, and what normalises it.

    Parameters
    ----------
    Y
        Points ``[n, dimensions]``, 1 to 3 dimensions; float32, or float64 for the oracle.
    method
        "exact" for all pairs; "fft" for a grid (1 or 2 dimensions) or "barnes_hut" for a tree (3 dimensions), both with
        at most 1 % relative root mean square error; or "auto" for the quickest.
    backend
        "auto", "numba" or "reference".

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or types, NaN or Inf, a method that cannot do this.
    BackendError
        The backend asked for cannot run this.
    """
    points = _points(Y)
    chosen = choose("repulsion", REPULSION_BACKENDS, Request("cpu", points.dtype.name), backend)
    forces, total, used = chosen.run(points, method)
    return Repulsion(arrays.like(Y)(forces), total, used, chosen.name)


def _points(Y: Any) -> NDArray[Any]:
    points = checks.check_matrix(arrays.to_numpy(Y, "Y"), "Y")
    if points.shape[1] > 3:
        raise InputError("Y", f"{points.shape[1]} columns", "1, 2 or 3 dimensions")
    return points
