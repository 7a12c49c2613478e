"""Engines on a GPU: all rows compared by our own kernels, or an index of FAISS's that is moved there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.errors import BackendError
from fastclust.neighbors.engine import Engine
from fastclust.neighbors.packages import faiss

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "BACKENDS",
    "ExactThere",
    "behind_transforms",
    "choose_name_there",
    "faiss_gpus",
    "moved_to_gpu",
    "why_not",
]

#: What ``backend`` may be: "gpu" is FAISS's GPU indexes, and Triton's kernels for "exact".
BACKENDS = ("auto", "cpu", "gpu")
#: FAISS has these for GPUs; a factory string may ask for more than it has, which it says itself.
_NOT_THERE = ("cells", "hnsw", "nsg", "nndescent")
#: Up to here all rows are compared; as on the CPU.
_EXACT_ROWS = 20_000
_BLOCK = 4096


class ExactThere(Engine):
    """All rows compared in float64 by Triton's kernels: the neighbours of the oracle, but for ties of float64."""

    exact = True

    def __init__(self, rows: NDArray[Any], *, inner: bool, k: int) -> None:
        super().__init__(rows, inner=inner, k=k)
        if inner:
            raise BackendError('backend="gpu": index="exact" has no inner product. Allowed with it: flat, ivf, ivfpq.')
        import torch

        from fastclust_kernels.devices import device_for_kernels
        from fastclust_kernels.mahalanobis import BACKENDS as TABLE
        from fastclust_kernels.tensors import request_for

        self._there = torch.from_numpy(rows).to(device_for_kernels())
        (kernels,) = (row for row in TABLE if row.name == "triton")
        reasons = kernels.unsupported_reasons(request_for(self._there))
        if reasons:
            raise BackendError(f'backend="gpu": index="exact" cannot run this ({"; ".join(reasons)}). Allowed: cpu.')
        self._straight = np.eye(rows.shape[1])

    def search(self, queries: NDArray[Any], k: int) -> NDArray[np.int64]:
        """Row numbers ``[q, k]``."""
        import torch

        from fastclust_kernels.mahalanobis import nearest

        out = np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), _BLOCK):
            part = torch.from_numpy(queries[start : start + _BLOCK]).to(self._there.device)
            found = nearest(part, self._there, self._straight, k, backend="triton").indices
            out[start : start + len(part)] = found.cpu().numpy()
            progress.report("neighbors", start + len(part), len(queries), "searching on the GPU")
        return out


def choose_name_there(index: str, n: int, *, inner: bool) -> str:
    """Resolve "auto" for a GPU; only FAISS has inner products. Raises BackendError for what there is none of on one."""
    if index in _NOT_THERE:
        raise BackendError(
            f'index={index!r} runs on the CPU only. Allowed with backend="gpu": auto, exact, flat, ivf, ivfpq, or a '
            "factory string that FAISS has for GPUs."
        )
    if index != "auto":
        return index
    if n > _EXACT_ROWS:
        return "ivf"
    return "flat" if inner else "exact"


def faiss_gpus(module: Any) -> int:
    """How many GPUs this build of FAISS can use."""
    return int(module.get_num_gpus()) if hasattr(module, "StandardGpuResources") else 0


def moved_to_gpu(index: Any, factory: str) -> tuple[Any, Any]:
    """The index on the first GPU, and what holds its memory there, to be kept beside it. Raises BackendError."""
    module = faiss()
    reasons = _without_faiss(module)
    if reasons:
        raise BackendError(f'index={factory!r}: backend="gpu" cannot run this ({"; ".join(reasons)}). Allowed: cpu.')
    held = module.StandardGpuResources()
    try:
        return module.index_cpu_to_gpu(held, 0, index), held
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        raise BackendError(f'index={factory!r}: FAISS has none for backend="gpu": {reason}. Allowed: cpu.') from error


def behind_transforms(index: Any) -> Any:
    """The index that rows reach after what a factory such as "PCA32,IVF256,Flat" does to them first."""
    module = faiss()
    while isinstance(index, module.IndexPreTransform):
        index = module.downcast_index(index.index)
    return index


def _without_faiss(module: Any) -> list[str]:
    if not hasattr(module, "StandardGpuResources"):
        return ['this build of faiss is for the CPU: pip uninstall faiss-cpu && pip install "fastclust[gpu]"']
    return [] if faiss_gpus(module) else ["faiss sees no GPU here"]


def why_not() -> list[str]:
    """Why "auto" searches on the CPU here."""
    from fastclust.errors import MissingPackageError
    from fastclust_kernels import passes

    try:
        reasons = _without_faiss(faiss())
    except MissingPackageError as error:
        reasons = [str(error)]
    if reasons:
        return reasons
    return [] if passes.any_recorded("neighbors", "gpu") else ["no pass is recorded on any GPU; ask for it by name"]
