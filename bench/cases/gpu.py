"""k-means on a GPU: not measured yet. ``bench/gpu.sh`` measures there; none of our kernels has run on one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.model import OURS, AbsentError, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CASE"]


@dataclass
class _Data:
    n: int
    d: int
    k: int


def _absent(reason: str) -> Callable[[_Data], Callable[[], Any]]:
    def prepare(_data: _Data) -> Callable[[], Any]:
        import torch

        raise AbsentError(reason if torch.cuda.is_available() else "no GPU that torch can use")

    return prepare


_OURS = _absent("bench/gpu.sh has not run on a GPU yet")
_PEER = _absent("measured by bench/gpu.sh, beside ours")


def _problem(n: int, d: int, k: int, milliseconds: float) -> Problem:
    return Problem(
        f"one iteration {n}x{d} k={k}",
        lambda: _Data(n, d, k),
        [
            Contender(OURS, _OURS),
            Contender("flash-kmeans", _PEER, ("flash-kmeans",)),
            Contender("flashlib", _PEER, ("flashlib",)),
        ],
        lambda _data, _result: Verdict(passed=False, detail="its gate is in bench/gpu_kmeans.py"),
        flops=2.0 * n * d * k,
        targets=[
            Target("1.8x flash-kmeans", 1.8, peer="flash-kmeans"),
            Target("1.3x FlashLib", 1.3, peer="flashlib"),
            Target("milliseconds an iteration on an H200", milliseconds / 1e3, figure="median", at_most=True),
        ],
    )


def _problems(_size: str) -> Sequence[Problem]:
    return [
        _problem(1_000_000, 128, 1_000, 0.6),
        _problem(10_000_000, 128, 10_000, 50),
        _problem(1_000_000, 768, 65_536, 190),
    ]


CASE = Case("gpu", "a k-means iteration on a GPU", _problems)
