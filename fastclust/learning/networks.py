"""The heads that are trained, and the fixed projection before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fastclust.errors import InputError
from fastclust.learning.threads import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ENCODERS", "EmbeddingNet", "Heads", "fit_projection"]

ENCODERS = ("mlp", "linear")
#: Rows that the principal components are estimated from.
_SAMPLE = 20_000


def fit_projection(
    rows: NDArray[np.float32], n_components: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean ``[d]`` and components ``[d, p]`` of a PCA, scaled so that projected rows have mean square length 1.

    p is ``n_components`` or the rank of the data, if that is less. Raises InputError where all rows are equal.
    """
    rng = np.random.default_rng(seed)
    if len(rows) > _SAMPLE:
        rows = rows[np.sort(rng.choice(len(rows), _SAMPLE, replace=False))]
    sample = rows.astype(np.float64)
    mean = sample.mean(0)
    sample -= mean
    values, vectors = np.linalg.eigh(sample.T @ sample / len(sample))
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int((values > max(values[0], 0) * 1e-10).sum())
    if values[0] <= np.finfo(np.float32).tiny or rank == 0:
        raise InputError("X", "rows that are all equal", "rows that differ", "There is nothing to learn from them.")
    kept = min(n_components, rank)
    components = vectors[:, :kept]
    # A component's sign is arbitrary: its largest entry is made positive, so that builds of LAPACK agree.
    components = components * np.sign(components[np.abs(components).argmax(0), np.arange(kept)])
    components = components / np.sqrt(values[:kept].sum())
    return mean.astype(np.float32), components.astype(np.float32)


class Heads(nn.Module):
    """Embedding f and the wider g, linear and orthogonal at first, over a shared hidden layer or over the input.

    Parameters
    ----------
    n_inputs, hidden, embedding_dim, teacher_dim
        Widths.
    encoder
        "mlp": one hidden layer with batch normalisation; "linear": none.
    seed
        Of the first weights.
    """

    def __init__(
        self, n_inputs: int, *, hidden: int, embedding_dim: int, teacher_dim: int, encoder: str, seed: int
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            body: list[nn.Module] = []
            if encoder == "mlp":
                body = [nn.Linear(n_inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
            self.body = nn.Sequential(*body)
            width = hidden if encoder == "mlp" else n_inputs
            self.f = nn.Linear(width, embedding_dim)
            self.g = nn.Linear(width, teacher_dim)
            for head in (self.f, self.g):
                nn.init.orthogonal_(head.weight)
                nn.init.zeros_(head.bias)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return f ``[b, embedding_dim]`` and g ``[b, teacher_dim]`` of projected rows."""
        shared = self.body(rows)
        return self.f(shared), self.g(shared)


class EmbeddingNet(nn.Module):
    """A fixed projection onto principal components, then the heads."""

    mean: Tensor
    components: Tensor

    def __init__(self, mean: Tensor, components: Tensor, heads: Heads) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)
        self.heads = heads

    def project(self, rows: Tensor) -> Tensor:
        """Return what the heads are given, ``[b, p]``."""
        return (rows - self.mean) @ self.components

    @torch.no_grad()
    def embed(self, rows: Tensor, *, block: int = 4096) -> Tensor:
        """Return f of rows, L2-normalised, ``[n, embedding_dim]``, with the statistics learned in training."""
        self.heads.eval()
        with one_thread():
            parts = [self.heads(self.project(rows[start : start + block]))[0] for start in range(0, len(rows), block)]
        return nn.functional.normalize(torch.cat(parts), dim=1)
