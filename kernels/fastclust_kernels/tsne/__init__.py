"""Forces of t-SNE: attraction along the affinities, repulsion between all points."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust_kernels import arrays, checks
from fastclust_kernels.devices import architecture_of, device_of, triton_asks
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


def _attraction_torch(P: Any, Y: Any, device: Any, kernels: str) -> Any:
    from fastclust_kernels.tsne.device import DeviceForces

    return DeviceForces(P, device, kernels=kernels).attraction(Y)


def _repulsion_torch(Y: Any, method: str, device: Any, kernels: str) -> tuple[Any, float, str]:
    from scipy.sparse import csr_matrix

    from fastclust_kernels.tsne.device import DeviceForces

    forces = DeviceForces(csr_matrix((len(Y), len(Y)), dtype=np.float32), device, kernels=kernels, method=method)
    found, total = forces.repulsion(Y)
    return found, total, forces.method


#: Backends that take tensors and a device.
_ON_DEVICES = ("torch", "triton")
#: Tolerances are relative root mean square errors; README.md, Error.
ATTRACTION_BACKENDS = (
    Backend("numba", _attraction_numba, ("cpu",), ("float32",), {"float32": 1e-5}, ("numba",)),
    Backend(
        "triton",
        _attraction_torch,
        ("cpu", "cuda"),
        ("float32",),
        {"float32": 1e-5},
        ("torch", "triton"),
        asks=triton_asks,
    ),
    Backend("torch", _attraction_torch, ("cpu", "cuda"), ("float32",), {"float32": 1e-5}, ("torch",)),
    Backend("reference", reference.attraction, ("cpu",), ("float32", "float64"), automatic=False),
)
REPULSION_BACKENDS = (
    Backend("numba", _repulsion_numba, ("cpu",), ("float32",), {"float32": 0.01}, ("numba", "scipy")),
    Backend(
        "triton",
        _repulsion_torch,
        ("cpu", "cuda"),
        ("float32",),
        {"float32": 0.01},
        ("torch", "triton"),
        asks=triton_asks,
    ),
    Backend("torch", _repulsion_torch, ("cpu", "cuda"), ("float32",), {"float32": 0.01}, ("torch",)),
    Backend("reference", _repulsion_reference, ("cpu",), ("float32", "float64"), automatic=False),
)


def attraction(P: Any, Y: Any, *, backend: str = "auto", device: Any = None) -> Attraction:
    """Compute the attraction between points along their affinities.

    Parameters
    ----------
    P
        SciPy CSR matrix ``[n, n]``, symmetric.
    Y
        Points ``[n, dimensions]``, 1 to 3 dimensions; float32, or float64 for the oracle.
    backend
        "auto", "numba", "torch", "triton" or "reference". On a GPU "auto" takes only what has a recorded pass against
        the oracle on that kind of GPU.
    device
        For "torch" and "triton": a torch device; None is where ``Y`` lies.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or types, NaN or Inf.
    BackendError
        The backend asked for cannot run this.
    """
    points = _Points(Y, device)
    if getattr(P, "format", "") != "csr":
        raise InputTypeError("P", type(P).__name__, "a SciPy CSR matrix")
    if P.shape != (points.n, points.n):
        raise InputError("P", f"shape {P.shape}", f"({points.n}, {points.n}), a row and a column for each point")
    checks.check_finite(P.data, "P")
    chosen = choose("attraction", ATTRACTION_BACKENDS, points.request, backend)
    if chosen.name in _ON_DEVICES:
        return Attraction(points.back(chosen.run(P, points.tensor(), points.device, chosen.name)), chosen.name)
    return Attraction(points.back(chosen.run(P, points.host)), chosen.name)


def repulsion(Y: Any, *, method: str = "auto", backend: str = "auto", device: Any = None) -> Repulsion:
    """Compute the repulsion between all points, and what normalises it.

    Parameters
    ----------
    Y
        Points ``[n, dimensions]``, 1 to 3 dimensions; float32, or float64 for the oracle.
    method
        "exact" for all pairs; "fft" for a grid (1 or 2 dimensions) or "barnes_hut" for a tree (3 dimensions), both with
        at most 1 % relative root mean square error; or "auto" for the quickest.
    backend
        "auto", "numba", "torch", "triton" or "reference". On a GPU "auto" takes only what has a recorded pass against
        the oracle on that kind of GPU.
    device
        For "torch" and "triton": a torch device; None is where ``Y`` lies.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or types, NaN or Inf, a method that cannot do this.
    BackendError
        The backend asked for cannot run this.
    """
    points = _Points(Y, device)
    chosen = choose("repulsion", REPULSION_BACKENDS, points.request, backend)
    if chosen.name in _ON_DEVICES:
        forces, total, used = chosen.run(points.tensor(), method, points.device, chosen.name)
    else:
        forces, total, used = chosen.run(points.host, method)
    return Repulsion(points.back(forces), total, used, chosen.name)


class _Points:
    """Points as they came, and where work on them is to be done."""

    def __init__(self, Y: Any, device: Any) -> None:
        self._given = Y
        torch = sys.modules.get("torch")
        self._tensor = torch is not None and isinstance(Y, torch.Tensor)
        where = device if device is not None else Y.device if self._tensor else "cpu"
        self.host = checks.check_matrix(arrays.to_numpy(Y.cpu() if self._tensor else Y, "Y"), "Y")
        self.n, dimensions = self.host.shape
        if dimensions > 3:
            raise InputError("Y", f"{dimensions} columns", "1, 2 or 3 dimensions")
        self.device: Any = None
        architecture = ""
        if str(where) != "cpu":
            self.device = device_of(where)
            architecture = architecture_of(self.device)
        kind = "cpu" if self.device is None else self.device.type
        self.request = Request(kind, self.host.dtype.name, architecture)

    def tensor(self) -> Any:
        import torch

        self.device = self.device or torch.device("cpu")
        return torch.from_numpy(np.ascontiguousarray(self.host)).to(self.device)

    def back(self, found: Any) -> Any:
        """Return a result of the kind that the points are, and where they lie."""
        if self._tensor:
            import torch

            return torch.as_tensor(found).to(self._given.device)
        return found if isinstance(found, np.ndarray) else found.cpu().numpy()
