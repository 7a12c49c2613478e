"""Rows of k-means that lie on a GPU: labels and sums stay there, centres and what is decided about them come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastclust.cluster.rows import InMemory, Nearest, Sums
from fastclust.errors import BackendError
from fastclust_kernels import tensors
from fastclust_kernels.assign import BACKENDS
from fastclust_kernels.assign.screening import CERTIFIED, Screening
from fastclust_kernels.dispatch import choose
from fastclust_kernels.mahalanobis import pairs
from fastclust_kernels.update import BACKENDS as UPDATES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.cluster.lloyd import Fit
    from fastclust_kernels.assign.device import DeviceAssignment
    from fastclust_kernels.update.device import Added, DeviceSums

__all__ = ["DeviceRows", "device_rows"]

#: Rows whose variance is taken at a time.
_BLOCK = 1 << 18


class DeviceRows(InMemory):
    """Rows of a tensor ``[n, d]``, on Triton's kernels; sums of "cuda" by CUDA C++."""

    def __init__(self, matrix: torch.Tensor, backend: str = "triton", *, screening: Screening = CERTIFIED) -> None:
        self.matrix, self.backend, self._screening = matrix, backend, screening
        self.dtype = np.dtype(np.float64 if matrix.dtype == torch.float64 else np.float32)
        self.shape = (matrix.shape[0], matrix.shape[1])
        self._nearest: DeviceAssignment | None = None

    @property
    def certified(self) -> float | None:
        """Share of the rows that the last assignment's screen decided."""
        return None if self._nearest is None else self._nearest.certified

    def take(self, numbers: Any) -> NDArray[Any]:
        return self.some(numbers).matrix.cpu().to(torch.float64).numpy().astype(self.dtype)

    def some(self, numbers: Any) -> DeviceRows:
        some = self.matrix[torch.as_tensor(np.asarray(numbers), device=self.matrix.device)]
        return DeviceRows(some, self.backend, screening=self._screening)

    def nearest(self, k: int, backend: str, bounds: bool | None) -> Nearest:
        del k
        del backend  # was chosen when the rows were made
        if bounds:
            raise _no_bounds()
        return _Nearest(self, self.keep_nearest())

    def keep_nearest(self) -> DeviceAssignment:
        """An assignment of these rows, of which ``certified`` will tell."""
        self._nearest = self._assignment()
        return self._nearest

    def lloyd(self, centers: NDArray[Any], **named: Any) -> Fit:
        """What ``lloyd`` does, with all of it on the device; for who need not see each iteration."""
        from fastclust.cluster.device_lloyd import lloyd_there

        if named.pop("bounds", None):
            raise _no_bounds()
        named.pop("backend", None)
        return lloyd_there(self, centers, **named)

    def sums(self, k: int, weights: NDArray[np.float64] | None) -> Sums:
        each = None if weights is None else torch.from_numpy(weights).to(self.matrix.device)
        from fastclust_kernels.update.device import DeviceSums

        return _Sums(DeviceSums(self.matrix, k, each, self.added()))

    def added(self) -> Added:
        """What adds up rows."""
        if self.backend == "cuda":
            from fastclust_kernels.update import _cuda

            return _cuda.added
        from fastclust_kernels.update import _triton

        return _triton.added

    def assign(self, centers: NDArray[Any], backend: str) -> tuple[NDArray[np.int32], NDArray[np.float64], str]:
        del backend  # was chosen when the rows were made
        moving, there = self._assignment(), self.tensor(centers)
        labels = moving.step(there)
        return labels.cpu().numpy(), moving.distances(there, labels).cpu().numpy(), self.backend

    def own(self, centers: NDArray[Any], labels: Any) -> NDArray[np.float64]:
        each = torch.as_tensor(labels, device=self.matrix.device)
        distances: NDArray[np.float64] = self._assignment().distances(self.tensor(centers), each).cpu().numpy()
        return distances

    def few(self, others: NDArray[Any]) -> NDArray[np.float64]:
        nothing = np.zeros(self.shape[0], np.int32)
        return np.stack([self.own(other[None], nothing) for other in others])

    def all(self, centers: NDArray[Any]) -> NDArray[Any]:
        distances = pairs(self.matrix, centers, np.eye(self.shape[1]), backend="triton")[0]
        found: NDArray[Any] = distances.cpu().numpy()
        return found

    def variance(self) -> float:
        return float(self.moments()[2].mean()) / self.shape[0]

    def moments(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """How many rows, their mean and their squared deviations, by column."""
        mean = sum(block.sum(dim=0, dtype=torch.float64) for block in self._blocks()) / self.shape[0]
        squares = sum((block.double() - mean).square().sum(dim=0) for block in self._blocks())
        return self.shape[0], torch.as_tensor(mean).cpu().numpy(), torch.as_tensor(squares).cpu().numpy()

    def finish(
        self, nearest: Nearest, centers: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int32], float]:
        labels = torch.as_tensor(nearest.step(centers))
        return labels.cpu().numpy().copy(), self.inertia(centers, labels, weights)  # type: ignore[arg-type]

    def tensor(self, centers: NDArray[Any]) -> torch.Tensor:
        """Centres where the rows lie."""
        return torch.from_numpy(np.ascontiguousarray(centers)).to(self.matrix.device)

    def labels(self, labels: NDArray[np.int32]) -> Any:
        """Labels where the rows lie."""
        return torch.from_numpy(labels).to(self.matrix.device)

    def _assignment(self) -> DeviceAssignment:
        """Its module needs Triton: it is imported only where :func:`device_rows` found that to be there."""
        from fastclust_kernels.assign.device import DeviceAssignment

        return DeviceAssignment(self.matrix, screening=self._screening)

    def _blocks(self) -> list[torch.Tensor]:
        return [self.matrix[start : start + _BLOCK] for start in range(0, self.shape[0], _BLOCK)]


class _Nearest:
    """Labels stay on the device."""

    bounded = False

    def __init__(self, rows: DeviceRows, moving: DeviceAssignment) -> None:
        self.backend = rows.backend
        self._rows, self._moving = rows, moving

    def step(self, centers: NDArray[Any]) -> Any:
        return self._moving.step(self._rows.tensor(centers))


class _Sums:
    def __init__(self, moving: DeviceSums) -> None:
        self._moving = moving

    def step(self, labels: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        sums, total, changed = self._moving.step(labels)
        return sums.cpu().numpy(), total.cpu().numpy(), changed

    def state(self) -> dict[str, NDArray[np.float64]]:
        return {name: part.cpu().numpy() for name, part in self._moving.state().items()}

    def restore(self, state: dict[str, NDArray[np.float64]], labels: Any) -> None:
        self._moving.restore({name: torch.from_numpy(part).to(labels.device) for name, part in state.items()}, labels)


def _no_bounds() -> BackendError:
    return BackendError("algorithm='elkan': backend='triton' keeps no bounds. Allowed: auto, lloyd.")


def device_rows(X: Any, backend: str, *, finite: bool, screening: Screening = CERTIFIED) -> DeviceRows:
    """Rows on the GPU where they lie, or on the one there is; ``screening`` as of DeviceAssignment.

    Raises InputError, InputTypeError, BackendError.
    """
    rows = tensors.tensor(X, "X", tensors.Kind(X).device, finite=finite)
    request = tensors.request_for(rows)
    if backend == "cuda":
        choose("update", UPDATES, request, "cuda")
        choose("assign", BACKENDS, request, "triton")
        return DeviceRows(rows, "cuda", screening=screening)
    choose("assign", BACKENDS, request, backend)
    return DeviceRows(rows, screening=screening)
