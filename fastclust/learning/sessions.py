"""One training of a net on inputs: what the student is given, where its views come from, where figures go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fastclust.errors import MissingPackageError
from fastclust.learning.devices import Residence, sent
from fastclust.learning.networks import through
from fastclust.learning.patches import PatchEncoder
from fastclust.learning.trainer import Trainer
from fastclust.learning.validation import Validation
from fastclust.learning.views import GivenViews, ImageViews, MixedViews, Views

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastclust.learning.checkpoint import Checkpoint
    from fastclust.learning.inputs import Inputs
    from fastclust.learning.networks import EmbeddingNet
    from fastclust.learning.objectives import Supervision
    from fastclust.learning.plan import Plan

__all__ = ["figures_to", "train"]

#: Changed copies of each image that a front which is slow is given once.
_COPIES = 2
#: Largest part of the way to a neighbour that rows without views are moved.
_MIX = 0.5


def train(
    net: EmbeddingNet,
    inputs: Inputs,
    plan: Plan,
    supervision: Supervision | None = None,
    *,
    augment: float = 1.0,
    checkpoint: Checkpoint | None = None,
    log: Any = None,
    held: Inputs | None = None,
    held_labels: NDArray[np.int64] | None = None,
) -> tuple[list[float], list[float]]:
    """Train the student of ``net`` in place; return each epoch's mean loss, and its score on the rows held out.

    With rows held out the student is left as it was after the epoch that did best on them. Raises MissingPackageError
    for the log.
    """
    record, close = figures_to(log)
    raw = torch.from_numpy(inputs.rows)
    rows = net.prepared(raw, "images")
    start = through(net.student.body, rows, "a start", device=net.device) if _tells(net.student.body) else rows
    home = Residence(net.device)
    rows = home.take(rows)
    make_views = _views(net, inputs, raw, rows, plan, augment, home)
    validation = None if held is None else _validation(net, held, plan, augment, held_labels)
    try:
        trainer = Trainer(net.student, rows, start.numpy(), make_views, plan, supervision, record, validation)
        return trainer.run(checkpoint), trainer.scores
    finally:
        close()


def _validation(
    net: EmbeddingNet, held: Inputs, plan: Plan, augment: float, labels: NDArray[np.int64] | None
) -> Validation:
    """Return what judges an epoch: the rows held out and one view of each, drawn by the plan's seed."""
    from fastclust.neighbors import knn_graph

    raw = torch.from_numpy(held.rows)
    rows = net.prepared(raw, "rows held out")
    neighbors = knn_graph(held.rows, n_neighbors=min(plan.n_nearest - 1, len(rows) - 1)).indices
    views = _views(net, held, raw, rows, plan, augment, Residence(torch.device("cpu")))(neighbors)
    generator = torch.Generator().manual_seed(plan.seed)
    return Validation(rows, views.draw(torch.arange(len(rows)), generator), labels)


def _tells(body: nn.Module) -> bool:
    """Whether a body that is trained says more of rows than they do themselves, before any training."""
    return isinstance(body, nn.Sequential) and isinstance(body[0], PatchEncoder)


def _views(
    net: EmbeddingNet, inputs: Inputs, raw: Tensor, rows: Tensor, plan: Plan, augment: float, home: Residence
) -> Callable[[NDArray[np.int64]], Views]:
    if inputs.views is not None:
        given = torch.from_numpy(inputs.views)
        shape = (len(rows), given.shape[1], rows.shape[1])
        prepared = net.prepared(given.reshape(-1, raw.shape[1]), "views").view(shape)
        return lambda _: GivenViews(rows, home.take(prepared))
    if inputs.image_shape is None:
        return lambda neighbors: MixedViews(rows, torch.from_numpy(neighbors).to(rows.device), _MIX)
    source = ImageViews(home.take(raw), inputs.image_shape, augment)
    if isinstance(net.front, nn.Identity):
        return lambda _: source
    if not any(isinstance(part, nn.Conv2d | PatchEncoder) for part in net.front.modules()):
        return lambda _: _Prepared(source, net)
    copies = []
    for copy in range(_COPIES):
        drawn = []
        for number, first in enumerate(range(0, len(rows), 4096)):
            part = torch.arange(first, min(first + 4096, len(rows)))
            state = np.random.SeedSequence([plan.seed, copy, number]).generate_state(1, np.uint64)
            drawn.append(source.draw(part, torch.Generator().manual_seed(int(state[0] >> 1))).cpu())
        copies.append(net.prepared(torch.cat(drawn), f"views {copy + 1} of {_COPIES}"))
    fixed = home.take(torch.stack(copies, 1))
    return lambda _: GivenViews(rows, fixed)


class _Prepared:
    """Views that are drawn each time and then sent through a front which is quick."""

    def __init__(self, views: Views, net: EmbeddingNet) -> None:
        self._views = views
        self._net = net

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each row."""
        found: Tensor = self._net.front(sent(self._views.draw(rows, generator), self._net.device))
        return found


def figures_to(log: Any) -> tuple[Callable[[str, float, int], None] | None, Callable[[], None]]:
    """Return where figures go, and what closes that. Raises MissingPackageError."""
    if log is None or callable(log):
        return log, lambda: None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingPackageError("log=FOLDER needs TensorBoard: pip install tensorboard.") from error
    writer = SummaryWriter(str(log))
    return writer.add_scalar, writer.close
