"""What is learned from a batch: the self-taught loss, or triplets mined on the manifold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from fastclust.errors import PreconditionError
from fastclust.learning import ranks
from fastclust.learning.devices import sent
from fastclust.learning.losses import ContrastiveLoss, SelfTaughtLoss, TripletLoss, contextual_similarity
from fastclust.learning.samplers import NeighborhoodSampler, TripletSampler, nearest_negatives

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from fastclust.learning.context import Context
    from fastclust.learning.plan import Plan
    from fastclust.neighbors import NeighborGraph

__all__ = ["Batch", "Objective", "Supervision", "make_objective"]

#: Neighbours in the graph that is mined, and hard positives and negatives of an anchor.
_NEIGHBORS, _POSITIVES, _NEGATIVES = 30, 50, 100
#: Of the triplet loss over mined triplets (Iscen et al., 2018), and of its contrastive form.
_TRIPLET_MARGIN, _CONTRASTIVE_MARGIN = 0.5, 0.7


@dataclass(frozen=True, slots=True)
class Supervision:
    """Labels for a part of the rows, as an additional loss."""

    loss: nn.Module
    #: int64 [n], -1 where unknown.
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: the rows to draw, and what the objective needs to know of them."""

    #: int64 [b], on the host.
    rows: Tensor
    #: float32 [triplets], on the host, where the objective has triplets.
    weights: Tensor | None = None


class Objective(Protocol):
    """What a trainer asks of an objective."""

    #: Whether the loss looks at the teacher, and an epoch at the rows' embedding.
    needs_teacher: bool
    needs_embedding: bool
    #: Negatives that the epoch's first embedding chose, which later ones would not, where the objective has any.
    hardest: NDArray[np.int64] | None

    def neighbors(self) -> NDArray[np.int64] | None:
        """Return neighbours ``[n, k]`` of what rows are known by before training; None: each epoch needs a graph."""
        ...

    def begin(
        self,
        epoch: int,
        context: Context,
        described: Callable[[NDArray[np.int64]], NDArray[np.float32]],
        hardest: NDArray[np.int64] | None,
    ) -> int:
        """Take an epoch's context and a function that embeds rows; return the number of batches.

        Within an epoch that is gone on with, ``hardest`` is what this was when it began.
        """
        ...

    def batch(self, number: int) -> Batch:
        """Return one batch of the epoch."""
        ...

    def loss(self, batch: Batch, student: tuple[Tensor, Tensor], teacher: Tensor | None) -> Tensor:
        """Return the loss of a batch by the student's f and g and the teacher's g."""
        ...


class SelfTaught:
    """(RC(f) + RC(g)) / 2 + KL (Kim et al., CVPR 2022), with similarity along the data set's graph mixed in."""

    needs_teacher = True
    needs_embedding = False
    hardest: NDArray[np.int64] | None = None

    def __init__(self, plan: Plan, supervision: Supervision | None, device: torch.device) -> None:
        self._plan = plan
        self._supervision = supervision
        self._device = device
        self._sampler = NeighborhoodSampler(plan.n_queries, plan.n_nearest, plan.seed)
        self._loss = SelfTaughtLoss(
            plan.margin, plan.temperature, use_g=plan.use_g, use_distillation=plan.use_distillation
        )

    def neighbors(self) -> None:
        """Ask for a graph each epoch."""

    def begin(
        self,
        epoch: int,
        context: Context,
        described: Callable[[NDArray[np.int64]], NDArray[np.float32]],  # noqa: ARG002 - other objectives look at it
        hardest: NDArray[np.int64] | None,  # noqa: ARG002 - as above
    ) -> int:
        """Take the epoch's graph."""
        self._coordinates = torch.from_numpy(context.coordinates).to(self._device)
        self._spread: tuple[Tensor, ...] | None = None
        if context.spread is not None:
            self._spread = tuple(torch.from_numpy(values).to(self._device) for values in context.spread)
        self._sampler.set_epoch(epoch, context.neighbors)
        return len(self._sampler)

    def batch(self, number: int) -> Batch:
        """Return queries and their neighbours, each ``n_views`` times."""
        return Batch(torch.from_numpy(self._sampler.batch(number)).repeat(self._plan.n_views))

    def loss(self, batch: Batch, student: tuple[Tensor, Tensor], teacher: Tensor | None) -> Tensor:
        """Return the self-taught loss, and the supervised one where there are labels."""
        plan, rows, (f, g) = self._plan, sent(batch.rows, self._device), student
        assert teacher is not None
        similarity = contextual_similarity(
            teacher,
            rows,
            k=min(plan.n_nearest * plan.n_views, len(rows)),
            sigma=plan.sigma,
            contextual=plan.use_context,
        )
        similarity = with_dataset(similarity, self._coordinates[rows], plan.context_weight)
        loss: Tensor = self._loss(f, g, similarity)
        if self._supervision is not None and self._spread is not None:
            labels, confidence = (values[rows] for values in self._spread)
            weights = confidence[:, None] * confidence[None, :]
            loss = loss + self._supervision.loss(f, labels, pair_weights=weights)
        return loss


class Mined:
    """Triplets or pairs of hard positives and negatives that mining on the manifold found before training."""

    needs_teacher = False
    needs_embedding = True

    def __init__(self, plan: Plan, start: NDArray[np.float32]) -> None:
        self._plan = plan
        self._start = start
        #: What is mined, until it was; and its neighbours.
        self._graph: NeighborGraph | None = None
        self._neighbors: NDArray[np.int64] | None = None
        self._n_anchors = max(1, plan.n_queries * plan.n_nearest // 3)
        self._sampler = TripletSampler(self._n_anchors, plan.seed)
        self._pools: Any = None
        self.hardest: NDArray[np.int64] | None = None
        self._loss: nn.Module = (
            TripletLoss(_TRIPLET_MARGIN, squared_distances=True)
            if plan.objective == "manifold_triplet"
            else ContrastiveLoss(0.0, _CONTRASTIVE_MARGIN, hinge="squared")
        )

    def neighbors(self) -> NDArray[np.int64]:
        """Return the neighbours in the graph that is mined, which is made the first time."""
        if self._neighbors is None:
            from fastclust.mining.manifold import EVERY_ROW
            from fastclust.neighbors import knn_graph

            rows = len(self._start)
            # Where every row is an anchor the graph holds what mining looks at, else anchors alone are searched.
            wide = _NEIGHBORS if rows > EVERY_ROW else _NEGATIVES
            self._graph = knn_graph(self._start, n_neighbors=min(wide, rows - 1), metric="cosine")
            self._neighbors = self._graph.indices[:, :_NEIGHBORS].copy()
        return self._neighbors

    def begin(
        self,
        epoch: int,
        context: Context,  # noqa: ARG002 - other objectives look at it
        described: Callable[[NDArray[np.int64]], NDArray[np.float32]],
        hardest: NDArray[np.int64] | None,
    ) -> int:
        """Mine, the first time; then look for the hardest negatives by the epoch's embedding.

        The first epoch's are the nearest by what was mined: training starts there, and no row is embedded for it.
        """
        rows = len(self._start)
        if self._pools is None:
            self._pools = ranks.from_first(self._mined)
        if not len(self._pools.anchors):
            raise PreconditionError(
                f"mining found no anchor with hard positives and negatives among {rows} rows. "
                'Use objective="self_taught", or more rows.'
            )
        if hardest is None:
            hardest = ranks.from_first(lambda: nearest_negatives(self._pools, described if epoch else None))
        self.hardest = hardest
        self._sampler.set_epoch(epoch, self._pools, self.hardest)
        return max(1, rows // self._n_anchors)

    def batch(self, number: int) -> Batch:
        """Return anchors, positives and negatives, one view of each."""
        rows, weights = self._sampler.batch(number)
        return Batch(torch.from_numpy(rows.ravel()), torch.from_numpy(weights))

    def loss(self, batch: Batch, student: tuple[Tensor, Tensor], teacher: Tensor | None) -> Tensor:  # noqa: ARG002 - other objectives look at it
        """Return the loss of the batch's triplets on f."""
        assert batch.weights is not None
        count = len(batch.weights)
        f = student[0]
        triplets = tuple(torch.arange(3 * count, device=f.device).view(3, count))
        loss: Tensor = self._loss(f, indices_tuple=triplets, pair_weights=sent(batch.weights, f.device))
        return loss

    def _mined(self) -> Any:
        """Mine the rows that training starts from, and let their graph go."""
        from fastclust.mining import mine_manifold

        rows = len(self._start)
        self.neighbors()
        graph, self._graph = self._graph, None
        assert graph is not None
        return mine_manifold(
            graph,
            k_positive=min(_POSITIVES, rows - 1),
            k_negative=min(_NEGATIVES, rows - 1),
            n_neighbors=min(_NEIGHBORS, rows - 1),
            max_anchors=max(1500, rows // 20),
        )


def with_dataset(similarity: Tensor, coordinates: Tensor, weight: float) -> Tensor:
    """Mix a batch's similarity with that along the data set's graph, where both rows have a place in it."""
    if weight == 0:
        return similarity
    told = coordinates.any(1).to(similarity)
    along = (coordinates @ coordinates.T).clamp(0, 1)
    return similarity + weight * (told[:, None] * told[None, :]) * (along - similarity)


def make_objective(
    plan: Plan, supervision: Supervision | None, start: NDArray[np.float32], device: torch.device
) -> Objective:
    """Return the objective that the plan names, for a net on the device.

    ``start`` ``[n, d]`` is what rows are known by before training.
    """
    return SelfTaught(plan, supervision, device) if plan.objective == "self_taught" else Mined(plan, start)
