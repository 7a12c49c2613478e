"""k-means and Mahalanobis kernels on a GPU: the oracle first, then ceilings, then times beside peers.

Started by ``gpu.sh``; needs of this tree only the kernels. Each line of the output is one JSON object; lines with
``"passed": true`` and an architecture are what goes into ``kernels/fastclust_kernels/passes.json``. No speed is told of
an operation that is wrong.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench import gpu_components
from bench.gpu_about import about
from bench.gpu_peers import ASSIGNMENTS, DISTANCES, ITERATIONS, AbsentError
from fastclust_kernels.assign import assign
from fastclust_kernels.assign.device import DeviceAssignment
from fastclust_kernels.assign.reference import assign as assign_oracle
from fastclust_kernels.devices import device_of
from fastclust_kernels.mahalanobis import nearest, pairs
from fastclust_kernels.replay import Replay
from fastclust_kernels.update import update
from fastclust_kernels.update.device import DeviceSums
from fastclust_kernels.update.reference import update as update_oracle
from fastclust_kernels.update.still import StillSums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Rows, columns, centres: of the design's three targets, and d = 64 and 256; rows are cut to what is asked for.
_SHAPES = [(1_000_000, 128, 1_000), (1_000_000, 64, 256), (1_000_000, 256, 4_096), (10_000_000, 128, 10_000)]
_KINDS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class _Book:
    """Lines as they come, on the screen and in the file: who waits sees that it goes on."""

    def __init__(self, path: Path, shared: dict[str, Any], seconds: float) -> None:
        self._file, self._shared = path.open("w", encoding="utf-8"), shared
        self._begun, self._seconds = time.monotonic(), seconds
        self.wrong = 0

    def tell(self, **found: Any) -> None:
        self.wrong += found.get("passed") is False
        line = json.dumps(self._shared | found)
        print(line, flush=True)
        self._file.write(line + "\n")
        self._file.flush()

    def say(self, what: str) -> None:
        print(f"[{time.monotonic() - self._begun:6.1f} s] {what}", flush=True)

    def over(self) -> bool:
        """Whether the time for measuring is spent: what is left is told as not run."""
        return time.monotonic() - self._begun > self._seconds


def main() -> int:
    """Return 0 if all operations passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=10_000_000, help="most rows of a shape")
    parser.add_argument("--seconds", type=float, default=300, help="after which no other shape is begun")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    device = device_of(chosen.device)
    shared = about(device)
    book = _Book(chosen.out, shared, chosen.seconds)
    passed = _verdicts(book, device)
    book.say("ceilings")
    for line in _ceilings(device):
        book.tell(**line)
    for size, call in gpu_components.calls(min(chosen.rows, 1_000_000), device, passed["components"]):
        book.tell(**size, **_times(call, device))
    if all("triton" in passed[operation] for operation in ("assign", "update")):
        _shapes(book, chosen.rows, device)
    if passed["mahalanobis"] and not book.over():
        book.say("distances")
        for line in _distances(min(chosen.rows, 20_000), 64 if chosen.rows > 1000 else 8, device):
            book.tell(**line)
    book.say("done")
    return 1 if book.wrong else 0


def _verdicts(book: _Book, device: torch.device) -> dict[str, set[str]]:
    """Backends of each operation that agree with its oracle."""
    passed: dict[str, set[str]] = {name: set() for name in ("assign", "update", "mahalanobis", "components")}
    checks = [("assign", "triton", _assign), ("update", "triton", _update), ("mahalanobis", "triton", _mahalanobis)]
    checks.append(("components", "triton", partial(gpu_components.worst, backend="triton")))
    if device.type == "cuda" and find_spec("cupy"):
        checks.append(("update", "cuda", partial(_update, backend="cuda")))
        checks.append(("components", "cuda", partial(gpu_components.worst, backend="cuda")))
    for operation, backend, check in checks:
        book.say(f"{operation} {backend}: against the oracle")
        said = {"operation": operation, "backend": backend}
        try:
            error, allowed = check(device)
        except Exception as reason:  # noqa: BLE001 - a kernel that does not run is a finding; the others still count
            book.tell(**said, passed=False, error=f"{type(reason).__name__}: {reason}")
            continue
        book.tell(**said, error=error, allowed=allowed, passed=bool(error <= allowed))
        if error <= allowed:
            passed[operation].add(backend)
    return passed


def _shapes(book: _Book, rows: int, device: torch.device) -> None:
    """Times of k-means, until the time is spent."""
    small = rows <= 1000
    shapes = {(min(n, rows), 8 if small else d, min(k, rows // 8 + 1)) for n, d, k in _SHAPES}
    for n, d, k in sorted(shapes):
        for name, kind in _KINDS.items():
            if book.over():
                book.tell(what="iteration", n=n, d=d, k=k, dtype=name, absent="no time was left")
                continue
            book.say(f"k-means {n} x {d}, k={k}, {name}")
            for line in _kmeans(n, d, k, kind, name, device):
                book.tell(**line)


def _sizes(device: torch.device) -> tuple[int, int, int]:
    return (60, 8, 9) if device.type == "cpu" else (20_000, 96, 700)


def _assign(device: torch.device) -> tuple[float, float]:
    """Share of rows that are further from their centre than from the nearest: ties of float64 apart."""
    n, d, k = _sizes(device)
    rng = np.random.default_rng(0)
    worst = 0.0
    for width in (d, 3, 5 * d):
        for offset, scale in ((0.0, 1.0), (1000.0, 1e-3), (0.0, 1e20)):
            centers = (offset + scale * rng.normal(size=(k, width))).astype(np.float32)
            centers[1] = centers[0] * np.float32(1 + 2e-7)  # a hair apart: float64 must decide
            X = (offset + scale * rng.normal(size=(n // 4, width))).astype(np.float32)
            found = assign(torch.from_numpy(X).to(device), torch.from_numpy(centers).to(device), backend="triton")
            least = assign_oracle(X, centers)[1]
            own = ((X.astype(np.float64) - centers[found.labels.cpu().numpy()].astype(np.float64)) ** 2).sum(axis=1)
            worst = max(worst, float((np.abs(own / least - 1) > 1e-12).mean()))
    return worst, 0.0


def _update(device: torch.device, backend: str = "triton") -> tuple[float, float]:
    n, d, k = _sizes(device)
    rng = np.random.default_rng(1)
    X, labels = rng.normal(size=(n, d)).astype(np.float32), rng.integers(k, size=n)
    there, numbers = torch.from_numpy(X).to(device), torch.from_numpy(labels).to(device)
    one, other = (update(there, numbers, k, backend=backend) for _ in range(2))
    if not torch.equal(one.sums, other.sums):
        return float("inf"), 1e-12
    magnitude = update_oracle(np.abs(X), labels, k, None)[0]
    return float((np.abs(one.sums.cpu().numpy() - update_oracle(X, labels, k, None)[0]) / magnitude).max()), 1e-12


def _mahalanobis(device: torch.device) -> tuple[float, float]:
    """Largest relative error of a distance, as a share of what the dtype allows; wrong neighbours count as 2."""
    n, d, _ = (max(8, each // 8) for each in _sizes(device))
    rng = np.random.default_rng(2)
    worst = 0.0
    for kind, allowed in ((np.float32, 2e-6), (np.float64, 1e-12)):
        for offset, scale in ((0.0, 1.0), (1000.0, 1e-3)):
            X, Y = ((offset + scale * rng.normal(size=(rows, d))).astype(kind) for rows in (n, n + 7))
            W = np.linalg.qr(rng.normal(size=(d, d)))[0] * np.geomspace(1, 0.2, d)
            theirs = [torch.from_numpy(each).to(device) for each in (X, Y)]
            exact = pairs(X.astype(np.float64), Y.astype(np.float64), W, backend="reference")[0]
            found = pairs(*theirs, W, backend="triton")[0].cpu().numpy()
            if not np.isfinite(found).all():
                return float("inf"), 1.0
            worst = max(worst, float(np.abs(found / exact - 1).max()) / allowed)
            near = nearest(*theirs, W, 5, backend="triton").indices.cpu().numpy()
            order = np.argsort(exact, axis=1, kind="stable")[:, :5]
            apart = np.take_along_axis(exact, near, 1) / np.take_along_axis(exact, order, 1) - 1
            worst = max(worst, 2.0 if np.abs(apart).max() > 1e-12 else 0.0)
    return worst, 1.0


def _times(call: Callable[[], Any], device: torch.device) -> dict[str, Any]:
    """Median and spread, by events on a GPU; the first call compiles and is apart."""
    begun = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    first = time.perf_counter() - begun
    turns = 2 if device.type == "cpu" else max(3, min(30, int(3 / max(first / 10, 1e-3))))
    seconds = []
    for _ in range(turns):
        if device.type == "cuda":
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            call()
            after.record()
            after.synchronize()
            seconds.append(before.elapsed_time(after) / 1e3)
        else:
            begun = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begun)
    return {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds), "first": first}


def _ceilings(device: torch.device) -> Iterator[dict[str, Any]]:
    """What a copy and products reach here: shares are of these, not of a data sheet."""
    size = 1 << 12 if device.type == "cpu" else 1 << 29
    source = torch.randn(size, device=device)
    target = torch.empty_like(source)
    timing = _times(lambda: target.copy_(source), device)
    yield {"what": "copy", "bytes_a_second": 8 * size / timing["median"]} | timing
    side = 64 if device.type == "cpu" else 8192
    for kind in (torch.float16, torch.float32, torch.float64):
        A, B = (torch.randn(side, side, device=device, dtype=torch.float32).to(kind) for _ in range(2))
        timing = _times(lambda A=A, B=B: A @ B, device)  # type: ignore[misc]
        yield {"what": f"product {kind}", "flops": 2 * side**3 / timing["median"]} | timing


def _kmeans(n: int, d: int, k: int, kind: torch.dtype, name: str, device: torch.device) -> Iterator[dict[str, Any]]:
    """An assignment, an update of few changes and a whole iteration, beside peers on the same tensors."""
    draw = torch.Generator(device=device).manual_seed(0)
    X = torch.randn(n, d, generator=draw, device=device).to(kind)
    centers = X[torch.randperm(n, generator=draw, device=device)[:k]].float()
    said = {"n": n, "d": d, "k": k, "dtype": name}
    moving, sums = DeviceAssignment(X), DeviceSums(X, k, None)
    sums.step(moving.step(centers))
    timing = _times(lambda: moving.step(centers), device)
    share = {"flops": 2.0 * n * d * k / timing["median"], "certified": moving.certified}
    yield {"what": "assignment", "backend": "fastclust"} | said | share | timing
    labels = moving.step(centers).clone()
    other = labels.clone()
    other[: max(1, n // 50)] = 0
    both = [labels, other]

    def few() -> None:
        both.reverse()
        sums.step(both[0])

    yield {"what": "update of a fiftieth", "backend": "fastclust"} | said | _times(few, device)
    yield (
        {"what": "update of all", "backend": "fastclust"}
        | said
        | _times(lambda: DeviceSums(X, k, None).step(labels), device)
    )

    def iteration() -> torch.Tensor:
        total, weights, _ = DeviceSums(X, k, None).step(moving.step(centers))
        return total / weights.clamp_min(1)[:, None]

    yield {"what": "iteration, one graph", "backend": "fastclust"} | said | _times(_graph(moving, X, centers), device)
    timing = _times(iteration, device)
    yield {"what": "iteration", "backend": "fastclust", "flops": 2.0 * n * d * k / timing["median"]} | said | timing
    for what, peers in (("assignment", ASSIGNMENTS), ("iteration", ITERATIONS)):
        for peer, prepare in peers.items():
            yield {"what": what, "backend": peer} | said | _peer(lambda p=prepare: p(X, centers.to(kind)), device)  # type: ignore[misc]


def _graph(moving: DeviceAssignment, X: torch.Tensor, centers: torch.Tensor) -> Replay:
    """A whole iteration that waits for nothing, as k-means makes it; it goes on from where the last one ended."""
    now, sums = centers.clone(), StillSums(X, len(centers), None)
    always = torch.ones((), dtype=torch.bool, device=X.device)

    def step() -> None:
        labels = moving.step(now)
        total, weights, peak, _, _ = sums.tried(labels)
        sums.keep(always, labels, total, weights, peak)
        now.copy_(total / weights.clamp_min(1)[:, None])

    return Replay(step, X.device)


def _distances(n: int, d: int, device: torch.device) -> Iterator[dict[str, Any]]:
    draw = torch.Generator(device=device).manual_seed(1)
    X, Y = (torch.randn(n, d, generator=draw, device=device) for _ in range(2))
    W = np.eye(d)
    said = {"n": n, "d": d}
    out = torch.empty(n, n, device=device)
    calls: dict[str, Callable[[], Any]] = {
        "all pairs": lambda: pairs(X, Y, W, backend="triton", out=out),
        "nearest": lambda: nearest(X, Y, W, 1, backend="triton"),
        "nearest 10": lambda: nearest(X, Y, W, 10, backend="triton"),
    }
    for what, call in calls.items():
        yield {"what": what, "backend": "fastclust"} | said | _times(call, device)
    for peer, prepare in DISTANCES.items():
        yield {"what": "all pairs", "backend": peer} | said | _peer(lambda p=prepare: p(X, Y), device)  # type: ignore[misc]


def _peer(prepare: Callable[[], Callable[[], Any]], device: torch.device) -> dict[str, Any]:
    try:
        return _times(prepare(), device)
    except AbsentError as reason:
        return {"absent": str(reason)}
    except Exception as error:  # noqa: BLE001 - a peer that fails is a finding
        return {"absent": f"{type(error).__name__}: {str(error)[:200]}"}


if __name__ == "__main__":
    raise SystemExit(main())
