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


def _problem(n: int, k: int, d: int, *, offset: float = 0.0, scale: float = 1.0) -> tuple[Any, ...]:
    rng = np.random.default_rng(d)
    factors = np.triu(rng.normal(size=(k, d, d))) + 2 * np.sqrt(d) * np.eye(d)
    return offset + scale * rng.normal(size=(n, d)), offset + scale * rng.normal(size=(k, d)), factors


def worst(device: torch.device, backend: str) -> tuple[float, float]:
    """Largest relative error of a distance, as a share of what the dtype allows: triangles, full and oblong factors."""
    n, k = (40 if device.type == "cpu" else 3000), (133 if backend == "cuda" else 7)
    kinds = {torch.float32: 2e-6, torch.float64: 1e-12}
    if backend == "triton":
        kinds |= {torch.float16: 2e-6, torch.bfloat16: 2e-6}
    share = 0.0
    for kind, allowed in kinds.items():
        for d in _FEW if backend == "cuda" else _FEW + _MANY:
            for offset, scale in ((0.0, 1.0), (1000.0, 1e-3)):
                X, means, factors = _problem(n, k, d, offset=offset, scale=scale)
                rows = torch.from_numpy(X).to(device, kind)
                for each in (factors, factors.transpose(0, 2, 1), factors[:, :, : max(1, d - 1)]):
                    for squared in (False, True):
                        exact = to_components(
                            rows.double().cpu().numpy(), means, each, squared=squared, backend="reference"
                        )
                        found = to_components(rows, means, each, squared=squared, backend=backend).cpu().numpy()
                        # A factor of lower rank may map a difference to nearly nothing.
                        lengths = np.maximum(exact, 0.01 * np.median(exact))
                        error = np.abs(found - exact) / lengths / (1 + squared)
                        if not np.isfinite(error).all():
                            return float("inf"), 1.0
                        share = max(share, float(error.max()) / allowed)
    return share, 1.0


def calls(n: int, device: torch.device, backends: set[str]) -> Iterator[tuple[dict[str, Any], Callable[[], Any]]]:
    """What to time: the size of each and the call, float32; torch's own product of all differences beside them."""
    for d, k in ((3, 64), (8, 64), (64, 16)):
        X, means, factors = _problem(n, k, d)
        rows = torch.from_numpy(X.astype(np.float32)).to(device)
        there = [torch.from_numpy(each).to(device) for each in (means, factors)]
        wide = rows.double()
        out = torch.empty(n, k, device=device)
        said = {"what": "components", "n": n, "d": d, "k": k, "dtype": "float32"}
        for backend in sorted(backends):
            if backend == "triton" or d in _FEW:
                yield (
                    said | {"backend": f"fastclust {backend}"},
                    partial(to_components, rows, *there, backend=backend, out=out),
                )
        yield said | {"backend": "torch in float64, a product a component"}, partial(_by_torch, wide, *there, out)


def _by_torch(rows: torch.Tensor, means: torch.Tensor, factors: torch.Tensor, out: torch.Tensor) -> None:
    """What a mixture written with torch does, without an array of all differences."""
    for number, (mean, factor) in enumerate(zip(means, factors, strict=True)):
        out[:, number] = ((rows - mean) @ factor).norm(dim=1)
