"""Rows to components on a GPU: Triton's kernel and the one in CUDA C++ against the oracle, and what is to be timed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastclust_kernels.mahalanobis import to_components

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["calls", "worst"]

#: Columns that both kernels take, and those that only Triton's takes.
_FEW, _MANY = (1, 3, 8), (20, 70)


def _problem(n: int, k: int, d: int, *, offset: float, scale: float) -> tuple[Any, ...]:
    rng = np.random.default_rng(d)
    factors = np.triu(rng.normal(size=(k, d, d))) + 2 * np.sqrt(d) * np.eye(d)
    return offset + scale * rng.normal(size=(n, d)), offset + scale * rng.normal(size=(k, d)), factors


def worst(device: torch.device, backend: str) -> tuple[float, float]:
    """Largest relative error of a distance, as a share of what the dtype allows; triangles and full factors."""
    n = 40 if device.type == "cpu" else 3000
    share = 0.0
    for kind, allowed in ((np.float32, 2e-6), (np.float64, 1e-12)):
        for d in _FEW if backend == "cuda" else _FEW + _MANY:
            for offset, scale in ((0.0, 1.0), (1000.0, 1e-3)):
                X, means, factors = _problem(n, 133 if backend == "cuda" else 7, d, offset=offset, scale=scale)
                rows = X.astype(kind)
                for each in (factors, factors.transpose(0, 2, 1)):
                    exact = to_components(rows.astype(np.float64), means, each, backend="reference")
                    found = to_components(torch.from_numpy(rows).to(device), means, each, backend=backend)
                    share = max(share, float(np.abs(found.cpu().numpy() / exact - 1).max()) / allowed)
    return share, 1.0


def calls(n: int, device: torch.device, backends: set[str]) -> Iterator[tuple[dict[str, Any], Callable[[], Any]]]:
    """What to time: the size of each and the call, float32; torch's own product of all differences beside them."""
    for d, k in ((3, 64), (8, 64), (64, 16)):
        X, means, factors = _problem(n, k, d, offset=0.0, scale=1.0)
        rows = torch.from_numpy(X.astype(np.float32)).to(device)
        there = [torch.from_numpy(each).to(device) for each in (means, factors)]
        out = torch.empty(n, k, device=device)
        said = {"what": "components", "n": n, "d": d, "k": k, "dtype": "float32"}
        for backend in sorted(backends):
            if backend == "triton" or d in _FEW:
                yield (
                    said | {"backend": f"fastclust {backend}"},
                    partial(to_components, rows, *there, backend=backend, out=out),
                )
        yield said | {"backend": "torch, a product a component"}, partial(_by_torch, rows, *there, out)


def _by_torch(rows: torch.Tensor, means: torch.Tensor, factors: torch.Tensor, out: torch.Tensor) -> None:
    """What a mixture written with torch does, without an array of all differences."""
    for number, (mean, factor) in enumerate(zip(means, factors, strict=True)):
        out[:, number] = ((rows.double() - mean) @ factor).norm(dim=1)
