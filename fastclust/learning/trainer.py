"""Self-taught training of the heads (Kim, Kim, Cho, Kwak, CVPR 2022), with the data set's graph for context."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fastclust.learning.context import Context, dataset_context
from fastclust.learning.losses import RelaxedContrastiveLoss, SelfDistillationLoss, contextual_similarity
from fastclust.learning.samplers import NeighborhoodSampler
from fastclust.learning.teacher import follow, teacher_of
from fastclust.learning.threads import one_thread
from fastclust.progress import report

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from fastclust.learning.networks import EmbeddingNet
    from fastclust.learning.views import Views

__all__ = ["Plan", "Supervision", "train"]

#: Neighbours in the graph that the context is computed from.
GRAPH_NEIGHBORS = 15
_COORDINATES = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """What :func:`train` is told; names as in :class:`fastclust.SelfTaughtLearner`."""

    epochs: int
    n_queries: int
    n_nearest: int
    n_views: int
    sigma: float
    margin: float
    temperature: float
    context_weight: float
    learning_rate: float
    weight_decay: float
    momentum: float
    seed: int


@dataclass(frozen=True, slots=True)
class Supervision:
    """Labels for a part of the rows, as an additional loss."""

    loss: nn.Module
    #: int64 [n], -1 where unknown.
    labels: NDArray[np.int64]


def train(
    net: EmbeddingNet,
    rows: Tensor,
    make_views: Callable[[Context], Views],
    plan: Plan,
    supervision: Supervision | None = None,
) -> list[float]:
    """Train the heads of ``net`` on ``rows`` ``[n, d]``; return each epoch's mean loss.

    Each epoch embeds all rows with the teacher's g (the first takes the projected rows), builds their graph, and goes
    once through all rows as queries. ``make_views`` is called once with the first epoch's context.
    """
    student, teacher = net.heads, teacher_of(net.heads)
    sampler = NeighborhoodSampler(plan.n_queries, plan.n_nearest, plan.seed)
    optimiser = torch.optim.AdamW(student.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    generator = torch.Generator().manual_seed(plan.seed)
    steps = plan.epochs * max(1, len(rows) // plan.n_queries)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    history: list[float] = []
    views: Views | None = None
    for epoch in range(plan.epochs):
        done = epoch * steps // plan.epochs
        tick = partial(report, "learn", done, steps, f"epoch {epoch + 1} graph")
        tick()
        context = dataset_context(
            _described(net, teacher, rows, first=epoch == 0),
            n_neighbors=max(GRAPH_NEIGHBORS, plan.n_nearest - 1),
            n_coordinates=_COORDINATES,
            seed=plan.seed,
            tick=tick,
            labels=None if supervision is None else supervision.labels,
        )
        views = views or make_views(context)
        coordinates = torch.from_numpy(context.coordinates)
        sampler.set_epoch(epoch, context.neighbors)
        student.train()
        teacher.train()
        total, loss_now = torch.zeros(()), float("nan")
        with one_thread():
            for step, batch in enumerate(sampler, start=1):
                groups = torch.from_numpy(batch).repeat(plan.n_views)
                drawn = net.project(views.draw(groups, generator))
                heads = student(drawn)
                loss = _self_taught(heads, teacher(drawn)[1], groups, coordinates, plan)
                if supervision is not None and context.spread is not None:
                    labels, confidence = (torch.from_numpy(values)[groups] for values in context.spread)
                    weights = confidence[:, None] * confidence[None, :]
                    loss = loss + supervision.loss(heads[0], labels, pair_weights=weights)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                follow(teacher, student, plan.momentum)
                total += loss.detach()
                if step % 10 == 1:
                    loss_now = float(loss.detach())
                report("learn", done + step, steps, f"epoch {epoch + 1} loss {loss_now:.4f}")
        history.append(float(total) / len(sampler))
    student.eval()
    return history


def _described(net: EmbeddingNet, teacher: nn.Module, rows: Tensor, *, first: bool) -> NDArray[np.float32]:
    """Return what the epoch's graph is built from: the teacher's g, or the projected rows before any training."""
    teacher.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(rows), 4096):
            projected = net.project(rows[start : start + 4096])
            parts.append(projected if first else nn.functional.normalize(teacher(projected)[1], dim=1))
    return torch.cat(parts).numpy()


def _self_taught(
    student: tuple[Tensor, Tensor], teacher: Tensor, groups: Tensor, coordinates: Tensor, plan: Plan
) -> Tensor:
    """Return (RC(f) + RC(g)) / 2 + KL for one batch."""
    f, g = student
    similarity = contextual_similarity(teacher, groups, k=plan.n_nearest * plan.n_views, sigma=plan.sigma)
    similarity = _with_dataset(similarity, coordinates[groups], plan.context_weight)
    relaxed = RelaxedContrastiveLoss(plan.margin)
    distilled: Tensor = SelfDistillationLoss(plan.temperature)(f, g)
    contrast: Tensor = (relaxed(f, similarity) + relaxed(g, similarity)) / 2
    return contrast + distilled


def _with_dataset(similarity: Tensor, coordinates: Tensor, weight: float) -> Tensor:
    """Mix a batch's similarity with that along the data set's graph, where both rows have a place in it."""
    if weight == 0:
        return similarity
    told = coordinates.any(1).to(similarity)
    along = (coordinates @ coordinates.T).clamp(0, 1)
    return similarity + weight * (told[:, None] * told[None, :]) * (along - similarity)
