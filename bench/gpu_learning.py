"""Learning on a GPU: the loss against the loop in float64, then times of a loss with its slopes, and of whole epochs.

Started by ``gpu.sh``. The peer is the loop over rows that ``bench/cases/learning_loops.py`` has, on the same device.
Each line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from bench.cases.learning_loops import loop_loss, loop_similarity
from bench.gpu_about import about
from fastclust.learning import SelfTaughtLearner
from fastclust.learning.losses import SelfTaughtLoss, contextual_similarity
from fastclust_kernels.devices import device_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_NEIGHBORS, _SIGMA, _MARGIN = 10, 3.0, 1.0
#: Of the slopes by f and g, by their norm, relative to the loop in float64.
_ERROR = 1e-3


class _Batch(NamedTuple):
    f: Tensor
    g: Tensor
    teacher: Tensor
    groups: Tensor


def main() -> int:
    """Return 0 if the slopes passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    device = device_of(chosen.device)
    there = device.type == "cuda"
    shared = about(device)
    wrong = 0
    with chosen.out.open("w", encoding="utf-8") as file:

        def tell(**found: Any) -> None:
            line = json.dumps({**shared, **found})
            print(line, flush=True)
            file.write(line + "\n")

        for count in (240, 480, 960) if there else (60,):
            batch = _batch(count, device)
            true = _slopes(_Batch(*(each.double() if each.is_floating_point() else each for each in batch)), _loop)
            found = _slopes(batch, _ours)
            errors = [float((a - b).norm() / b.norm()) for a, b in zip(found, true, strict=True)]
            passed = all(np.isfinite(error) and error <= _ERROR for error in errors)
            tell(operation="self-taught loss", backend="torch", n=count, error=max(errors), passed=passed)
            if not passed:
                wrong += 1
                continue
            for name, made in (("torch", _ours), ("loop over rows", _loop)):
                times = _times(lambda made=made, batch=batch: _slopes(batch, made), device, 30 if made is _ours else 5)
                tell(what="self-taught loss and slopes", n=count, backend=name, **times)
        images = np.random.default_rng(0).integers(0, 255, (400 if there else 60, 28, 28), dtype=np.uint8)
        for name in (str(device), "cpu") if there else ("cpu",):
            seconds: list[float] = []

            def note(figure: str, value: float, _: int, seconds: list[float] = seconds) -> None:
                if figure in ("epoch_seconds", "mining_seconds"):
                    seconds.append(value)

            # The first epoch pays for what is compiled and loaded.
            SelfTaughtLearner("resnet", device=name, epochs=2, random_state=0).fit(images, log=note)
            mining, whole = seconds[-2:]
            tell(
                what="the steps of an epoch, resnet trained, 28 x 28",
                n=len(images),
                backend=name,
                seconds=whole - mining,
            )
    return 1 if wrong else 0


def _batch(count: int, device: torch.device) -> _Batch:
    """Two views of an image beside each other in space, five images to a group."""
    rng = np.random.default_rng(count)
    images = count // 2
    centres = np.repeat(rng.standard_normal((images // 5, 1024)), 5, axis=0)
    rows = np.tile(centres + 0.8 * rng.standard_normal(centres.shape), (2, 1))
    f, g, teacher = (
        torch.from_numpy((rows + 0.5 * rng.standard_normal(rows.shape))[:, :d].astype(np.float32)).to(device)
        for d in (128, 1024, 1024)
    )
    return _Batch(f, g, teacher, torch.arange(images, device=device).repeat(2))


def _ours(batch: _Batch, f: Tensor, g: Tensor) -> Tensor:
    W = contextual_similarity(batch.teacher, batch.groups, k=_NEIGHBORS, sigma=_SIGMA)
    found: Tensor = SelfTaughtLoss(_MARGIN)(f, g, W)
    return found


def _loop(batch: _Batch, f: Tensor, g: Tensor) -> Tensor:
    W = [loop_similarity(batch.teacher, batch.groups, _NEIGHBORS, _SIGMA) for _ in range(2)]
    return loop_loss(f, g, (W[0], W[1]), _MARGIN)


def _slopes(batch: _Batch, made: Callable[[_Batch, Tensor, Tensor], Tensor]) -> list[Tensor]:
    f, g = batch.f.clone().requires_grad_(), batch.g.clone().requires_grad_()
    made(batch, f, g).backward()  # type: ignore[no-untyped-call]
    return [each.grad for each in (f, g) if each.grad is not None]


def _times(run: Callable[[], Any], device: torch.device, rounds: int) -> dict[str, float]:
    """Median, least and most seconds, by events on a GPU."""
    run()
    found = []
    for _ in range(rounds):
        if device.type == "cuda":
            began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            began.record()
            run()
            ended.record()
            torch.cuda.synchronize(device)
            found.append(began.elapsed_time(ended) / 1e3)
        else:
            start = time.perf_counter()
            run()
            found.append(time.perf_counter() - start)
    return {"median": float(np.median(found)), "least": min(found), "most": max(found)}


if __name__ == "__main__":
    raise SystemExit(main())
