"""The peer of fine-tuning: the same labels and no others, from random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["train_supervised"]


def train_supervised(
    rows: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], *, steps: int, seed: int
) -> NDArray[Any]:
    """Train a small residual net with a linear head on labelled rows of 28 x 28 pixels; embed the test rows, 128-d."""
    import torch

    from fastclust.learning.losses import ContrastiveLoss
    from fastclust.learning.residual import SmallResNet
    from fastclust.learning.views import ImageViews

    net = SmallResNet((28, 28, 1), seed=seed)
    torch.manual_seed(seed)
    model = torch.nn.Sequential(net, torch.nn.Linear(net.width, 128))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    views, loss = ImageViews(torch.from_numpy(rows), (28, 28, 1)), ContrastiveLoss(0.0, 1.0)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    known = torch.from_numpy(labels)
    for _ in range(steps):
        batch = torch.from_numpy(rng.choice(len(rows), 120, replace=False))
        optimiser.zero_grad(set_to_none=True)
        loss(model(views.draw(batch, generator)), known[batch]).backward()
        optimiser.step()
        schedule.step()
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(part) for part in torch.from_numpy(test).split(500)]).numpy()
