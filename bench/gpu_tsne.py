"""t-SNE on a GPU: forces against the oracle, then times of an iteration and of whole optimisations, beside peers.

Started by ``gpu.sh``; needs of this tree only the kernels. Each line of the output is one JSON object; lines with
``"passed": true`` and an architecture are what goes into ``kernels/fastclust_kernels/passes.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.gpu_about import about
from fastclust_kernels.errors import FastclustError
from fastclust_kernels.tsne import attraction, reference, repulsion
from fastclust_kernels.tsne.affinities import conditional, joint
from fastclust_kernels.tsne.device import KERNELS, DeviceForces, descend, device_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

#: Largest relative root mean square errors; those of the kernels' tests.
_ATTRACTION, _REPULSION = 1e-5, 0.01
_SPANS = (1e-3, 1, 10, 100)
_EARLY, _ALL = 250, 750


def main() -> int:
    """Return 0 if all forces passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", default="20000,70000,1000000")
    parser.add_argument("--iterations", type=int, default=0, help="of whole optimisations; 0: 750, or 3 on the CPU")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    device = device_of(chosen.device)
    iterations = chosen.iterations or (_ALL if device.type == "cuda" else 3)
    shared = about(device)
    wrong = 0
    with chosen.out.open("w", encoding="utf-8") as file:

        def tell(**found: Any) -> None:
            nonlocal wrong
            wrong += found.get("passed") is False
            line = json.dumps({**shared, **found})
            print(line, flush=True)
            file.write(line + "\n")

        passed = set()
        for kernels in KERNELS:
            for found in _forces(device, kernels):
                tell(**found)
                if found.get("passed"):
                    passed.add((kernels, found["operation"]))
        for size in map(int, chosen.sizes.split(",")):
            rows = _rows(size)
            for kernels in KERNELS:
                # No speed for what is wrong.
                if {(kernels, "attraction"), (kernels, "repulsion")} <= passed:
                    tell(**_optimisation(rows, device, kernels, iterations))
            for name, run in (("tsne-cuda", _tsne_cuda), ("cuml", _cuml)):
                tell(**_peer(name, run, rows, iterations))
    return 1 if wrong else 0


def _forces(device: torch.device, kernels: str) -> Iterator[dict[str, Any]]:
    """Worst errors against all pairs in float64, over spans and dimensions."""
    rng = np.random.default_rng(0)
    n = 60 if device.type == "cpu" else 3000
    near = np.argsort(rng.random((n, n)), axis=1)[:, :20]
    P = joint(near, rng.random((n, 20)).astype(np.float32))
    worst: dict[str, float] = {"attraction": 0.0, "repulsion": 0.0}
    try:
        for dimensions in (1, 2, 3):
            for span in _SPANS:
                Y = rng.normal(size=(n, dimensions))
                Y = (Y * span / np.ptp(Y, axis=0).max()).astype(np.float32)
                pulled = attraction(P, Y, backend=kernels, device=device).forces
                worst["attraction"] = max(worst["attraction"], _error(pulled, reference.attraction(P, Y)))
                forces, total = reference.repulsion(Y)
                for method in ("exact", "fft")[: 2 if dimensions == 2 else 1]:
                    found = repulsion(Y, method=method, backend=kernels, device=device)
                    error = _error(found.forces / found.normalization, forces / total)
                    worst["repulsion"] = max(worst["repulsion"], error)
    except FastclustError as error:
        yield {"backend": kernels, "absent": str(error)}
        return
    for operation, most in (("attraction", _ATTRACTION), ("repulsion", _REPULSION)):
        yield {
            "operation": operation,
            "backend": kernels,
            "error": worst[operation],
            "passed": bool(worst[operation] <= most),
        }


def _error(found: NDArray[Any], exact: NDArray[np.float64]) -> float:
    return float(np.sqrt(((found - exact) ** 2).sum() / (exact**2).sum()))


def _rows(n: int) -> NDArray[np.float32]:
    """A mixture of 30 Gaussians in 50 columns: this tree brings no data set along."""
    rng = np.random.default_rng(0)
    return (rng.normal(scale=3, size=(30, 50))[rng.integers(30, size=n)] + rng.normal(size=(n, 50))).astype(np.float32)


def _neighbours(rows: NDArray[np.float32], device: torch.device, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Exact neighbours by products in blocks, on the device."""
    points = torch.from_numpy(rows).to(device)
    half = 0.5 * (points * points).sum(dim=1)
    indices, distances = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
    step = max(1, 2**28 // len(rows))
    for start in range(0, len(rows), step):
        score = half - points[start : start + step] @ points.T
        own = torch.arange(len(score), device=device)
        score[own, start + own] = torch.inf
        found = score.topk(k, dim=1, largest=False).indices
        apart = points[found] - points[start : start + step, None]
        indices[start : start + step] = found.cpu().numpy()
        distances[start : start + step] = apart.norm(dim=2).cpu().numpy()
    return indices, distances


def _optimisation(rows: NDArray[np.float32], device: torch.device, kernels: str, iterations: int) -> dict[str, Any]:
    """Time the optimiser and its parts; affinities are made before."""
    k = min(90, len(rows) - 1)
    start = time.perf_counter()
    indices, distances = _neighbours(rows, device, k)
    graph_seconds = time.perf_counter() - start
    forces = DeviceForces(joint(indices, conditional(distances, k / 3)), device, kernels=kernels)
    Y = torch.from_numpy(np.ascontiguousarray(rows[:, :2] * (1e-4 / rows[:, 0].std()))).to(device)
    update, gains = torch.zeros_like(Y), torch.ones_like(Y)
    for part in (forces.attraction, forces.repulsion):  # compiles
        part(Y)
    parts = {"attraction": 0.0, "repulsion": 0.0, "descent": 0.0}

    def timed(name: str, work: Callable[..., Any], *given: Any, **numbers: Any) -> Any:
        begun = time.perf_counter()
        found = work(*given, **numbers)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        parts[name] += time.perf_counter() - begun
        return found

    for iteration in range(iterations):
        early = iteration < _EARLY
        exaggeration, momentum = (12.0, 0.5) if early else (1.0, 0.8)
        pulled = timed("attraction", forces.attraction, Y)
        pushed, total = timed("repulsion", forces.repulsion, Y)
        moved = timed(
            "descent",
            descend,
            *(Y, update, gains, pulled, pushed),
            exaggeration=exaggeration,
            momentum=momentum,
            normalization=total,
            learning_rate=len(rows) / exaggeration,
        )
        Y -= (moved / len(rows)).float()
    return {
        "what": "optimiser",
        "backend": kernels,
        "n": len(rows),
        "iterations": iterations,
        "seconds": sum(parts.values()),
        "neighbours_seconds": graph_seconds,
        "parts": parts,
        "kl": forces.divergence(Y),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    }


def _peer(
    name: str,
    run: Callable[[NDArray[np.float32], int], NDArray[Any] | None],
    rows: NDArray[np.float32],
    iterations: int,
) -> dict[str, Any]:
    """Time a peer's whole map, neighbours included, after a small one that compiles and allocates."""
    module = {"tsne-cuda": "tsnecuda", "cuml": "cuml"}[name]
    said = {"what": "whole map", "backend": name, "n": len(rows)}
    if find_spec(module) is None:
        return said | {"absent": f"{module} is not installed"}
    try:
        run(rows[:1000], 10)
        start = time.perf_counter()
        run(rows, iterations)
    except Exception as error:  # noqa: BLE001 - a peer that fails is a finding
        return said | {"absent": f"{type(error).__name__}: {error}"}
    return said | {"iterations": iterations, "seconds": time.perf_counter() - start}


def _tsne_cuda(rows: NDArray[np.float32], iterations: int) -> NDArray[Any]:
    from tsnecuda import TSNE

    return np.asarray(TSNE(n_iter=iterations, perplexity=30).fit_transform(rows))


def _cuml(rows: NDArray[np.float32], iterations: int) -> NDArray[Any]:
    from cuml.manifold import TSNE

    return np.asarray(TSNE(n_components=2, n_iter=iterations, perplexity=30, method="fft").fit_transform(rows))


if __name__ == "__main__":
    raise SystemExit(main())
