"""The net: a fixed front, a body that may be trained, and two linear heads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fastclust.errors import InputError
from fastclust.learning.devices import sent, where
from fastclust.learning.threads import one_thread
from fastclust.progress import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["EmbeddingNet", "Heads", "Projection", "Student", "fit_projection", "through"]

#: Rows that the principal components are estimated from, and numbers in them.
_SAMPLE, _NUMBERS = 20_000, 1 << 25
#: Columns up to which all components are computed, and products that find the leading ones beyond.
_DENSE, _POWERS = 1024, 6
#: Rows in one product of the front: its activations stay in the cache. On a GPU, so many that it is busy, and numbers.
_CHUNK, _CHUNK_THERE, _NUMBERS_THERE = 4, 1024, 1 << 21


def fit_projection(
    rows: NDArray[np.float32], n_components: int, seed: int, *, whitening: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean ``[d]`` and components ``[d, p]`` of a PCA, scaled so that projected rows have mean square length 1.

    p is ``n_components`` or the rank of the data, if that is less. Component i is divided by variance_i^(whitening /
    2): 0 leaves the variances, 1 makes them equal. Raises InputError where all rows are equal.
    """
    rng = np.random.default_rng(seed)
    most = min(_SAMPLE, max(2 * rows.shape[1], _NUMBERS // rows.shape[1]))
    if len(rows) > most:
        rows = rows[np.sort(rng.choice(len(rows), most, replace=False))]
    sample = rows.astype(np.float64)
    mean = sample.mean(0)
    sample -= mean
    with one_thread():
        values, vectors = _components(sample, n_components, rng)
    rank = int((values > max(values[0], 0) * 1e-10).sum())
    if values[0] <= np.finfo(np.float32).tiny or rank == 0:
        raise InputError("X", "rows that are all equal", "rows that differ", "There is nothing to learn from them.")
    kept = min(n_components, rank)
    components = vectors[:, :kept]
    # A component's sign is arbitrary: its largest entry is made positive, so that builds of LAPACK agree.
    components = components * np.sign(components[np.abs(components).argmax(0), np.arange(kept)])
    scaled = values[:kept] ** (1 - whitening)
    components = components / (values[:kept] ** (whitening / 2) * np.sqrt(scaled.sum()))
    return mean.astype(np.float32), components.astype(np.float32)


def _components(
    sample: NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest eigenvalues, descending, of the covariance of centred rows, and their vectors ``[d, ..]``."""
    n, d = sample.shape
    if n <= min(_DENSE, d // 2):
        # Of few rows all components, exactly, from the products of the rows: what has no length has no direction.
        values, turns = np.linalg.eigh(sample @ sample.T / n)
        values, turns = values[::-1], turns[:, ::-1]
        kept = values > max(values[0], 0) * 1e-10
        return values[kept] if kept.any() else values, sample.T @ turns[:, kept] / np.sqrt(values[kept] * n)
    covariance = sample.T @ sample / n
    if d <= max(_DENSE, 2 * count):
        values, vectors = np.linalg.eigh(covariance)
        return values[::-1], vectors[:, ::-1]
    # All eigenvectors of wide rows take a minute. Powers of a subspace (Halko, Martinsson, Tropp, 2011) take seconds.
    basis = rng.standard_normal((d, count + count // 8 + 8))
    for _ in range(_POWERS):
        basis, _ = np.linalg.qr(covariance @ basis)
    values, turns = np.linalg.eigh(basis.T @ covariance @ basis)
    return values[::-1], basis @ turns[:, ::-1]


class Projection(nn.Module):
    """(rows - mean) @ components, fixed.

    Parameters
    ----------
    mean, components
        ``[d]`` and ``[d, p]``.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, mean: Tensor, components: Tensor) -> None:
        super().__init__()
        self.config = {"shape": list(components.shape)}
        self.width = components.shape[1]
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)

    def forward(self, rows: Tensor) -> Tensor:
        """Return ``[b, p]``."""
        return (rows - self.mean) @ self.components


class Heads(nn.Module):
    """Embedding f and the wider g, linear and orthogonal at first, over a shared hidden layer or over the input.

    Parameters
    ----------
    n_inputs, hidden, embedding_dim, teacher_dim
        Widths.
    encoder
        "mlp": one hidden layer with batch normalisation; anything else: none.
    seed
        Of the first weights.
    """

    def __init__(
        self, n_inputs: int, *, hidden: int, embedding_dim: int, teacher_dim: int, encoder: str, seed: int
    ) -> None:
        super().__init__()
        self.n_inputs = n_inputs
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

    def start_from_inputs(self) -> None:
        """Let f be the first inputs, as they are; there must be no hidden layer.

        A wider f stays the isometry that it was drawn as, which keeps all distances and has no empty column.
        """
        if self.f.out_features <= self.f.in_features:
            with torch.no_grad():
                nn.init.eye_(self.f.weight)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return f ``[b, embedding_dim]`` and g ``[b, teacher_dim]``."""
        shared = self.body(rows)
        return self.f(shared), self.g(shared)


class Student(nn.Module):
    """What is trained: a body and the heads on it."""

    def __init__(self, body: nn.Module, heads: Heads) -> None:
        super().__init__()
        self.body = body
        self.heads = heads

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return f and g of what the front gives."""
        found: tuple[Tensor, Tensor] = self.heads(self.body(rows))
        return found


class EmbeddingNet(nn.Module):
    """A fixed front, then the student."""

    def __init__(self, front: nn.Module, student: Student) -> None:
        super().__init__()
        self.front = front.requires_grad_(requires_grad=False).eval()
        self.student = student

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return where(self.student)

    def prepared(self, rows: Tensor, message: str = "") -> Tensor:
        """Return what the student is given of all rows: ``[n, p]``, on the host."""
        if isinstance(self.front, nn.Identity):
            return rows
        return through(self.front, rows, message, device=self.device)

    def embed(self, rows: Tensor) -> Tensor:
        """Return f of rows, L2-normalised, ``[n, embedding_dim]``, with the statistics learned in training."""
        self.student.eval()
        plain = isinstance(self.student.body, nn.Identity)
        given = self.prepared(rows)
        found = through(lambda part: self.student(part)[0], given, chunk=4096 if plain else _CHUNK, device=self.device)
        return nn.functional.normalize(found, dim=1)


def through(
    module: Callable[[Tensor], Tensor],
    rows: Tensor,
    message: str = "",
    *,
    chunk: int = _CHUNK,
    device: torch.device | None = None,
) -> Tensor:
    """Return ``module`` of all rows, on the host: a few rows at a time, on its ``device`` (None: the CPU).

    On the CPU each time on one thread: the same bits on every machine. As many threads as torch has work at different
    rows.
    """
    there = device is not None and device.type != "cpu"
    if there:
        columns = max(1, rows[0].numel()) if len(rows) else 1
        chunk = max(_CHUNK, min(max(chunk, _CHUNK_THERE), _NUMBERS_THERE // columns))

    @torch.no_grad()
    def part(start: int) -> Tensor:
        few = rows[start : start + chunk]
        return module(few) if device is None or not there else module(sent(few, device)).cpu()

    parts: list[Tensor] = []
    threads = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        # A stretch at a time: a listener that raises stops the work there.
        stretch = chunk * 64
        for first in range(0, len(rows), stretch):
            if message:
                report("encode", first, len(rows), message)
            starts = range(first, min(first + stretch, len(rows)), chunk)
            # Current device and stream are a thread's own: a GPU is asked from the caller's.
            parts += map(part, starts) if there else pool.map(part, starts)
    return torch.cat(parts)
