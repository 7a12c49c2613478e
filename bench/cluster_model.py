"""What an iteration of exact k-means costs on a cluster: a model, its terms measured here, and what it says of 1B rows.

``python -m bench.cluster_model`` measures the terms on a Ray cluster of two local nodes, compares the model with
iterations of other sizes that it was not made from, and prints the table of ARCHITECTURE.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Machines", "Shape", "iteration", "main"]


@dataclass(frozen=True)
class Shape:
    """Rows, columns, clusters, float32."""

    n: int
    d: int
    k: int


@dataclass(frozen=True)
class Machines:
    """What does the work: rates of one worker, of the driver, and between them."""

    workers: int
    #: Floating-point operations a second of a worker's assignment.
    flops: float
    #: Bytes of rows a second that a worker adds up.
    adding: float
    #: Bytes a second into and out of the driver, copies into the object store included.
    wire: float
    #: Bytes a second that the driver adds up, and of sums that it makes the next centres of.
    reducing: float
    moving: float
    #: Seconds of a call, and of what is done once an iteration whatever the size.
    call: float


def iteration(shape: Shape, on: Machines) -> dict[str, float]:
    """Seconds of each term of an iteration without bounds; calls to workers overlap, what the driver does does not."""
    n, d, k = shape.n, shape.d, shape.k
    sums = 8.0 * k * (d + 1)
    return {
        # 2 d operations a row and centre.
        "labels": 2.0 * n * d * k / (on.workers * on.flops),
        "sums": 4.0 * n * d / (on.workers * on.adding),
        # Centres leave the driver once a worker; sums come back from each, in float64.
        "centres out": 4.0 * k * d * on.workers / on.wire,
        "sums in": sums * on.workers / on.wire,
        # In the order of the stretches, each once.
        "reduction": sums * on.workers / on.reducing,
        "next centres": sums / on.moving,
        "calls": on.call,
    }


class _Echo:
    """A worker that only sends sums back."""

    def sums(self, centers: Any, k: int, d: int) -> Any:
        """As many bytes as an iteration returns."""
        from fastclust.distributed.pool import received

        assert received(centers).shape == (k, d)
        return np.zeros((k, d)), np.zeros(k)

    def rates(self) -> tuple[float, float]:
        """Operations a second of labels and bytes a second of sums, on one thread, while the others do the same."""
        from fastclust.distributed.threads import limited
        from fastclust_kernels.assign import assign
        from fastclust_kernels.update.streamed import Carry

        rng = np.random.default_rng(0)
        rows = rng.normal(size=(65536, 128)).astype(np.float32)
        centers = rows[:1024].copy()
        labels = rng.integers(1024, size=len(rows)).astype(np.int32)
        with limited(1):
            scoring = _median(lambda: assign(rows, centers, check_finite=False), 9)
            adding = _median(lambda: Carry(1024, 128).add(rows, None, labels, None), 9)
        return 2.0 * len(rows) * 128 * 1024 / scoring, rows.nbytes / adding


def _median(work: Any, rounds: int = 5) -> float:
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:] if rounds > 1 else took)


def measured() -> Machines:
    """Measure the terms with two workers of one thread."""
    from bench.local_cluster import local_cluster
    from fastclust.cluster.lloyd import means_of
    from fastclust.distributed.pool import Pool

    rng = np.random.default_rng(0)
    local_cluster()
    pool = Pool(_Echo, [(), ()], None)

    def trip(k: int, d: int) -> float:
        centers = rng.normal(size=(k, d)).astype(np.float32)
        return _median(lambda: list(pool.each("sums", pool.share(centers), k, d)), 9)

    small, large = trip(1, 1), trip(32768, 128)
    flops, adding = (statistics.mean(each) for each in zip(*(found for _, found in pool.each("rates")), strict=True))
    pool.close()
    moved = 2 * 32768 * (4 * 128 + 8 * 129)
    total, part = np.zeros((32768, 129)), np.ones((32768, 129))
    reducing = _median(lambda: np.add(total, part, out=total), 9)
    before = rng.normal(size=(32768, 128)).astype(np.float32)
    weights = np.ones(32768)

    def move() -> float:
        moved = means_of(total[:, :128], weights, before, cosine=False)
        return float(((moved.astype(np.float64) - before) ** 2).sum())

    moving = _median(move, 9)
    return Machines(
        2,
        flops,
        adding,
        moved / (large - small),
        part.nbytes / reducing,
        part.nbytes / moving,
        small,
    )


def check(on: Machines) -> list[tuple[Shape, float, float]]:
    """Iterations of other sizes: (shape, seconds by the model, seconds measured)."""
    from fastclust import distributed, progress

    rng = np.random.default_rng(1)
    found = []
    for shape in (
        Shape(400_000, 32, 64),
        Shape(200_000, 64, 512),
        Shape(100_000, 128, 4096),
        Shape(20_000, 128, 16384),
    ):
        rows = rng.normal(size=(shape.n, shape.d)).astype(np.float32)
        at: list[float] = []

        def listen(told: progress.Progress, at: list[float] = at) -> None:
            if told.step == "kmeans":
                at.append(time.perf_counter())

        model = distributed.KMeans(
            shape.k, init=rows[: shape.k], n_init=1, tol=0, max_iter=6, algorithm="lloyd", n_workers=2, threads=1
        )
        with progress.listening(listen):
            model.fit(rows)
        found.append((shape, sum(iteration(shape, on).values()), statistics.median(np.diff(at))))
    return found


#: What is assumed where nothing could be measured: 400 TFLOP/s a GPU at d = 128, rows added up at 1 TB/s, 100 Gb/s into
#: and out of the driver. The driver's own rate and the calls are those of a core here.
_ASSUMED = {"flops": 4e14, "adding": 1e12, "wire": 12.5e9}


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    here = measured()
    print(
        f"terms, 2 workers of a thread: labels {here.flops / 1e9:.0f} GFLOP/s, sums {here.adding / 1e9:.1f} GB/s, "
        f"wire {here.wire / 1e9:.2f} GB/s, reduction {here.reducing / 1e9:.1f} GB/s, "
        f"next centres {here.moving / 1e9:.2f} GB/s, calls {1e3 * here.call:.1f} ms\n"
    )
    print("| iteration of | model, s | measured, s | measured / model |\n|---|---|---|---|")
    for shape, said, took in check(here):
        print(f"| {shape.n} x {shape.d}, k={shape.k} | {said:.3f} | {took:.3f} | {took / said:.2f} |")
    print("\n| GPUs | " + " | ".join(iteration(Shape(1, 1, 1), here)) + " | all, s |")
    print("|---" * 9 + "|")
    for workers in (8, 16, 32, 64):
        on = replace(here, workers=workers, **_ASSUMED)
        terms = iteration(Shape(10**9, 128, 10**6), on)
        print(
            f"| {workers} | " + " | ".join(f"{term:.2f}" for term in terms.values()) + f" | {sum(terms.values()):.1f} |"
        )


if __name__ == "__main__":
    main()
