"""Learning without labels: the loss of a batch beside a loop over rows, and what mining takes of an epoch.

The loss is timed on one thread, as training runs it: matrices this small gain nothing from a second one, and on a busy
machine the two wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench import datasets
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["CASE"]

_NEAREST, _VIEWS, _SIGMA, _MARGIN = 5, 2, 3.0, 1.0
#: Of the loss, and of its gradients by their norm, relative to the loop in float64.
_LOSS, _SLOPE = 1e-5, 1e-3


class _Found(NamedTuple):
    loss: float
    #: By f and by g.
    slopes: list[NDArray[Any]]


@dataclass
class _Batch:
    f: Tensor
    g: Tensor
    teacher: Tensor
    groups: Tensor
    true: _Found


def _batch(count: int) -> _Batch:
    """Draw a batch as training has it: two views of an image beside each other in space, five images to a group."""
    import torch

    rng = np.random.default_rng(count)
    images = count // _VIEWS
    centres = np.repeat(rng.standard_normal((images // _NEAREST, 1024)), _NEAREST, axis=0)
    rows = np.tile(centres + 0.8 * rng.standard_normal(centres.shape), (_VIEWS, 1))

    def moved(d: int) -> Tensor:
        return torch.from_numpy((rows + 0.5 * rng.standard_normal(rows.shape))[:, :d].astype(np.float32))

    f, g, teacher = moved(128), moved(1024), moved(1024)
    groups = torch.from_numpy(np.tile(np.arange(images), _VIEWS))
    true = _loop(f.double(), g.double(), teacher.double(), groups)
    return _Batch(f, g, teacher, groups, true)


def _slopes(f: Tensor, g: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> _Found:
    f, g = f.clone().requires_grad_(), g.clone().requires_grad_()
    value = loss(f, g)
    value.backward()  # type: ignore[no-untyped-call]
    assert f.grad is not None
    assert g.grad is not None
    return _Found(float(value.detach()), [f.grad.numpy(), g.grad.numpy()])


def _loop(f: Tensor, g: Tensor, teacher: Tensor, groups: Tensor, times: int = 1) -> _Found:
    from bench.cases.learning_loops import loop_loss, loop_similarity
    from fastclust.learning.threads import one_thread

    with one_thread():
        W = [loop_similarity(teacher, groups, _NEAREST * _VIEWS, _SIGMA) for _ in range(times)]
        return _slopes(f, g, lambda f, g: loop_loss(f, g, (W[0], W[-1]), _MARGIN))


def _ours(data: _Batch) -> Callable[[], _Found]:
    from fastclust.learning.losses import SelfTaughtLoss, contextual_similarity
    from fastclust.learning.threads import one_thread

    loss = SelfTaughtLoss(_MARGIN)

    def run() -> _Found:
        with one_thread():
            W = contextual_similarity(data.teacher, data.groups, k=_NEAREST * _VIEWS, sigma=_SIGMA)
            return _slopes(data.f, data.g, lambda f, g: loss(f, g, W))

    return run


def _gate(data: _Batch, found: _Found) -> Verdict:
    loss = abs(found.loss - data.true.loss) / abs(data.true.loss)
    slope = max(
        float(np.linalg.norm(mine - true) / np.linalg.norm(true))
        for mine, true in zip(found.slopes, data.true.slopes, strict=True)
    )
    passed = loss <= _LOSS and slope <= _SLOPE
    return Verdict(passed, f"loss {loss:.1e} (at most {_LOSS}), gradients {slope:.1e} (at most {_SLOPE}) from float64")


def _loss_problem(count: int, seconds: float) -> Problem:
    return Problem(
        f"self-taught loss and gradients, one thread, N={count} d=128 and 1024",
        lambda: _batch(count),
        [
            Contender(OURS, _ours),
            Contender(
                "loop over rows",
                lambda data: lambda: _loop(data.f, data.g, data.teacher, data.groups, 2),
                remark="written by us after what the public code does; the similarity is made twice a step, as there",
            ),
            Contender(
                "loop, similarity once",
                lambda data: lambda: _loop(data.f, data.g, data.teacher, data.groups),
                remark="the same, made once",
            ),
        ],
        _gate,
        targets=[Target("contextual loss: 2.5x a loop over rows", 2.5, peer="loop over rows")],
        rounds=15,
        seconds=seconds,
    )


def _ours_turned(images: Tensor) -> Callable[[], Tensor]:
    import torch

    from fastclust.learning.threads import one_thread
    from fastclust.learning.views import random_affine

    generator = torch.Generator().manual_seed(0)

    def run() -> Tensor:
        with one_thread():
            return random_affine(images, generator)

    return run


def _kornia_turned(images: Tensor) -> Callable[[], Tensor]:
    from kornia.augmentation import RandomAffine

    from fastclust.learning.threads import one_thread

    # The same ranges: 0.2 and 0.15 radians, 12 % of scale, a shift by 6 % of a side.
    turn = RandomAffine(11.46, translate=(0.06, 0.06), scale=(0.88, 1.12), shear=(-8.6, 8.6), p=1.0)

    def run() -> Tensor:
        with one_thread():
            found: Tensor = turn(images)
            return found

    return run


def _turned_gate(images: Tensor, found: Tensor) -> Verdict:
    """The same amount of light, as little of it leaves the image; and not the same images."""
    light = float(found.sum() / images.sum())
    moved = float((found - images).abs().mean() / images.mean())
    passed = found.shape == images.shape and 0.9 <= light <= 1.1 and moved > 0.1
    return Verdict(passed, f"{light:.3f} of the light (0.9 to 1.1), {moved:.2f} of it moved (at least 0.1)")


def _views_problem(shape: tuple[int, int, int, int]) -> Problem:
    def images() -> Tensor:
        import torch

        square = torch.zeros(shape)
        h, w = shape[2] // 4, shape[3] // 4
        square[:, :, h:-h, w:-w] = torch.rand(shape[0], shape[1], shape[2] - 2 * h, shape[3] - 2 * w)
        return square

    return Problem(
        f"views of a batch, one thread, {' x '.join(map(str, shape))}",
        images,
        [Contender(OURS, _ours_turned), Contender("kornia", _kornia_turned, needs=("kornia",))],
        _turned_gate,
        rounds=15,
        seconds=5.0,
    )


class _Epochs(NamedTuple):
    mining: float
    whole: float
    losses: list[float]


def _epochs(rows: NDArray[np.uint8], objective: str, epochs: int, *, trained: bool) -> Callable[[], _Epochs]:
    import fastclust as fc

    def run() -> _Epochs:
        seconds = {"mining_seconds": 0.0, "epoch_seconds": 0.0}

        def note(name: str, value: float, _: int) -> None:
            if name in seconds:
                seconds[name] += value

        learner = fc.SelfTaughtLearner(
            objective=objective, epochs=epochs, train_encoder=trained or "auto", random_state=0
        ).fit(rows, log=note)
        return _Epochs(seconds["mining_seconds"], seconds["epoch_seconds"], learner.loss_curve_)

    return run


def _epoch_gate(_: Any, found: _Epochs) -> Verdict:
    finite = bool(np.isfinite(found.losses).all())
    return Verdict(finite and 0 < found.mining < found.whole, f"losses {', '.join(f'{x:.4f}' for x in found.losses)}")


def _epoch_problem(count: int, objective: str, epochs: int, *, trained: bool = False) -> Problem:
    """Of heads on features made before, or with the encoder trained too, as those who mined first trained theirs."""

    def images() -> NDArray[np.uint8]:
        return (datasets.fashion_mnist(count) * 255).round().astype(np.uint8).reshape(-1, 28, 28)

    return Problem(
        f"epochs ({epochs} of them), {objective}{', encoder trained' * trained}, fashion-mnist {count}",
        images,
        [Contender(OURS, lambda rows: _epochs(rows, objective, epochs, trained=trained))],
        _epoch_gate,
        figures=lambda _, found: {"mining_share": found.mining / found.whole},
        targets=[Target("mining: at most 10 % of an epoch", 0.1, figure="mining_share", at_most=True)],
        once=True,
    )


def _problems(size: str) -> Sequence[Problem]:
    small = size == "small"
    counts, seconds = ((240, 480), 2.0) if small else ((240, 480, 960), 10.0)
    rows = 1_500 if small else 10_000
    return [
        *(_loss_problem(count, seconds) for count in counts),
        *(_views_problem(shape) for shape in ((480, 1, 28, 28), (480, 3, 32, 32), (240, 3, 64, 64))),
        *(_epoch_problem(rows, objective, 2) for objective in ("self_taught", "manifold_triplet")),
        _epoch_problem(1_000, "manifold_triplet", 2, trained=True),
    ]


CASE = Case("learning", "the self-taught loss of a batch, and mining's share of an epoch", _problems)
