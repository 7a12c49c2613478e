"""Peers of the k-means and Mahalanobis kernels on a GPU: each a call on the same tensors, or why it is absent."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ASSIGNMENTS", "DISTANCES", "ITERATIONS", "AbsentError"]

#: Scores that torch makes at a time.
_SCORES = 1 << 28


class AbsentError(Exception):
    """A peer that is not here, or cannot do this."""


def _module(name: str) -> Any:
    if find_spec(name) is None:
        raise AbsentError(f"{name} is not installed")
    return import_module(name)


def _by_products(X: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Labels by products in blocks, in the dtype that comes, as one would write it."""
    half = 0.5 * (centers.float() ** 2).sum(dim=1).to(centers.dtype)
    step = max(1, _SCORES // len(centers))
    return torch.cat([(X[at : at + step] @ centers.T - half).argmax(dim=1) for at in range(0, len(X), step)])


def _torch_products(X: torch.Tensor, centers: torch.Tensor) -> Callable[[], Any]:
    return lambda: _by_products(X, centers)


def _torch_half(X: torch.Tensor, centers: torch.Tensor) -> Callable[[], Any]:
    near, few = X.half(), centers.half()
    return lambda: _by_products(near, few)


def _torch_compiled(X: torch.Tensor, centers: torch.Tensor) -> Callable[[], Any]:
    if X.device.type == "cpu":
        raise AbsentError("torch.compile is for the GPU here")
    compiled = torch.compile(_by_products)
    return lambda: compiled(X, centers)


def _flash_kmeans(X: torch.Tensor, centers: torch.Tensor) -> Callable[[], Any]:
    module = _module("flash_kmeans")
    call = getattr(module, "batch_kmeans_Euclid", None)
    if call is None:
        raise AbsentError("flash_kmeans has no batch_kmeans_Euclid: another version than 0.3.1")
    named = {"n_clusters": len(centers), "max_iters": 1, "init_centroids": centers.half()[None]}
    allowed = inspect.signature(call).parameters
    rows = X.half()[None]
    return lambda: call(rows, **{name: value for name, value in named.items() if name in allowed})


def _flashlib(X: torch.Tensor, centers: torch.Tensor) -> Callable[[], Any]:
    module = _module("flashlib")
    call = getattr(module, "flash_kmeans", None)
    if call is None:
        raise AbsentError("flashlib has no flash_kmeans")
    named = {"n_clusters": len(centers), "max_iters": 1, "init_centroids": centers}
    allowed = inspect.signature(call).parameters
    return lambda: call(X, **{name: value for name, value in named.items() if name in allowed})


def _fastkmeans(X: torch.Tensor, centers: torch.Tensor) -> Callable[[], Any]:
    module = _module("fastkmeans")
    if X.device.type == "cpu":
        raise AbsentError("fastkmeans is for the GPU here")
    model = module.FastKMeans(X.shape[1], len(centers), niter=1, verbose=False)
    rows = X.cpu().numpy()
    return lambda: model.train(rows)


def _cdist(X: torch.Tensor, Y: torch.Tensor) -> Callable[[], Any]:
    return lambda: torch.cdist(X, Y)


#: Labels of rows for centres; a whole iteration; all pairs.
ASSIGNMENTS = {"torch": _torch_products, "torch fp16": _torch_half, "torch.compile": _torch_compiled}
ITERATIONS = {"flash-kmeans": _flash_kmeans, "flashlib": _flashlib, "fastkmeans": _fastkmeans}
DISTANCES = {"torch.cdist": _cdist}
