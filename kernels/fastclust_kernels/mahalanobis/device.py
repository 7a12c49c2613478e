"""Mahalanobis distances on a torch device: a GPU, or the CPU in Triton's interpreter. README.md, On a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import triton

from fastclust_kernels.mahalanobis import _triton, bounds
from fastclust_kernels.mahalanobis.factors import is_upper

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["nearest", "paired", "pairs", "to_components"]

#: Bytes of mapped rows, of distances or of candidates that are in memory at a time beside what is asked for.
_SLAB = 1 << 28
#: Pairs in doubt that are listed at a time; if there are more, rows come again in smaller slabs.
_DOUBTFUL = 1 << 22
#: Candidates beyond those wanted: what rounding may put in another order.
_SPARE = 8
_UNIT = 2.0**-53


class _Map(NamedTuple):
    """W on the device, and where the origin goes."""

    factor: torch.Tensor
    lengths: torch.Tensor
    shift: torch.Tensor
    #: Relative error that a distance may have.
    allowed: float

    def of(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return _triton.whiten(rows, self.shift, self.factor, self.lengths)


def _map(factor: NDArray[np.float64], Y: torch.Tensor, out: torch.dtype) -> _Map:
    matrix = torch.from_numpy(factor).to(Y.device)
    mean = torch.zeros(Y.shape[1], dtype=torch.float64, device=Y.device)
    for block in _parts(Y, max(1, _SLAB // (8 * Y.shape[1]))):
        mean += block.sum(dim=0, dtype=torch.float64)
    kind = "float64" if out == torch.float64 else "float32"
    # Errors may grow with the condition number of W.
    allowed = bounds.TOLERANCE[kind] * max(1.0, bounds.condition_at_least(factor) / 10)
    return _Map(matrix, matrix.norm(dim=1), mean / len(Y), allowed)


def pairs(X: torch.Tensor, Y: torch.Tensor, factor: NDArray[np.float64], out: torch.Tensor, *, squared: bool) -> None:
    """Write ``|W^T (x - y)|``, or its square, into ``out`` ``[n, m]``, float32 or float64."""
    by = _map(factor, Y, out.dtype)
    rank = factor.shape[1]
    others = _lost(by.of(Y), X.shape[1], by.allowed)
    for start, stop in _slabs(len(X), 8 * _triton.padded(rank)):
        rows = _lost(by.of(X[start:stop]), X.shape[1], by.allowed)
        _slab(X[start:stop], Y, rows, others, by, out[start:stop], squared=squared)


def _slab(
    X: torch.Tensor,
    Y: torch.Tensor,
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    others: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    by: _Map,
    out: torch.Tensor,
    *,
    squared: bool,
) -> None:
    """Write distances of mapped rows; those in doubt again, from the original rows."""
    share = (bounds.growth(by.factor.shape[1]) + 4) * _UNIT / by.allowed
    doubtful = torch.empty(min(_DOUBTFUL, out.numel()), dtype=torch.int64, device=out.device)
    count = torch.zeros(1, dtype=torch.int64, device=out.device)
    _triton.pairs(rows, others, by.factor.shape[1], share, out, doubtful, count, root=not squared)
    found = int(count.item())
    if found > len(doubtful):
        # One row fits: the list has room for all its pairs, or is taken in parts of Y.
        if len(X) > 1:
            half = len(X) // 2
            for part in (slice(0, half), slice(half, len(X))):
                mapped = rows[0][part], rows[1][part], rows[2][part]
                _slab(X[part], Y, mapped, others, by, out[part], squared=squared)
            return
        doubtful = torch.arange(out.numel(), device=out.device)
        found = out.numel()
    for listed in _parts(doubtful[:found], _DOUBTFUL):
        again = _triton.exact(X, Y, listed // out.shape[1], listed % out.shape[1], by.factor)
        out.view(-1)[listed] = (again if squared else again.sqrt()).to(out.dtype)


def _lost(
    mapped: tuple[torch.Tensor, torch.Tensor, torch.Tensor], d: int, allowed: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mapped rows, their squared lengths, and the squared distance below which mapping them may cost too much."""
    rows, sizes, spreads = mapped
    lost = (bounds.growth(d) + 2) * _UNIT * spreads
    return rows, sizes, 32 / allowed**2 * lost**2


def paired(X: torch.Tensor, Y: torch.Tensor, factor: NDArray[np.float64]) -> torch.Tensor:
    """``|W^T (x_i - y_i)|^2`` of row beside row: float64 ``[n]``."""
    numbers = torch.arange(len(X), device=X.device)
    return _triton.exact(X, Y, numbers, numbers, torch.from_numpy(factor).to(X.device))


def to_components(
    X: torch.Tensor, means: torch.Tensor, factors: torch.Tensor, out: torch.Tensor, *, squared: bool
) -> None:
    """Write ``|W_k^T (x - m_k)|``, or its square, into ``out`` ``[n, k]``."""
    _triton.components(X, means, factors, out, upper=is_upper(factors), root=not squared)


def nearest(
    X: torch.Tensor, Y: torch.Tensor, factor: NDArray[np.float64], k: int, *, others_only: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances ``[n, k]`` to the k nearest rows of ``Y``, and their numbers; the lowest number on a tie."""
    by = _map(factor, Y, torch.float64)
    width, d, m = _triton.padded(factor.shape[1]), X.shape[1], len(Y)
    others = by.of(Y)
    farthest, widest = others[1].amax(), bounds.rigorous(d) * others[2].amax()
    kept = triton.next_power_of_2(k + _SPARE)
    distances = torch.full((len(X), k), torch.nan, dtype=torch.float64, device=X.device)
    numbers = torch.full((len(X), k), -1, dtype=torch.int64, device=X.device)
    fused = kept <= _triton.MOST_KEPT
    each = 8 * width + 12 * kept + (0 if fused else 20 * m)
    for start, stop in _slabs(len(X), each):
        rows = by.of(X[start:stop])
        if fused:
            values, found = _triton.nearest(rows[:2], others[:2], factor.shape[1], start, kept, others_only=others_only)
            found = found.long()
        else:
            values, found = _chosen(rows, others, by, start, min(kept, m), others_only=others_only)
        ordered = _ordered(X[start:stop], Y, found, by.factor)
        distances[start:stop], numbers[start:stop] = ordered[0][:, :k], ordered[1][:, :k]
        # No row that was not kept is nearer than the worst of the kept ones, but for rounding.
        worst = values.amax(dim=1)
        doubt = _doubt(worst, rows, farthest, widest, factor.shape[1], d)
        # What is no number is in doubt.
        certain = (worst == torch.inf) | (distances[start:stop, -1] < worst - doubt)
        open_ = (~certain).nonzero()[:, 0] + start
        for row in open_.tolist():
            distances[row], numbers[row] = _all(X[row : row + 1], Y, by.factor, k, row if others_only else -1)
    return distances, numbers


def _doubt(
    value: torch.Tensor,
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    farthest: torch.Tensor,
    widest: torch.Tensor,
    rank: int,
    d: int,
) -> torch.Tensor:
    """By how much at most a squared distance of about ``value`` is off: no assumption on the signs of roundings."""
    lost = bounds.rigorous(d) * rows[2] + widest
    product = 2 * _UNIT * (rank + 8) * (rows[1] + farthest)
    return (2 * (value.clamp_min(0.0) + product).sqrt() * lost + lost * lost + product) * 1.01 + 1e-300


def _ordered(
    X: torch.Tensor, Y: torch.Tensor, found: torch.Tensor, factor: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates ``[n, kept]`` in order of their exact distance, then of their number; -1 is none and comes last."""
    none = found < 0
    first = torch.arange(len(X), device=X.device)[:, None].expand_as(found)
    flat = found.clamp_min(0).reshape(-1)
    exact = _triton.exact(X, Y, first.reshape(-1), flat, factor).reshape(found.shape)
    exact = exact.masked_fill(none, torch.inf)
    by_number, order = torch.sort(found, dim=1)
    exact, again = torch.sort(exact.gather(1, order), dim=1, stable=True)
    return exact, by_number.gather(1, again)


def _chosen(
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    others: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    by: _Map,
    start: int,
    kept: int,
    *,
    others_only: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates that are too many for registers: distances of a slab, and torch's selection."""
    n, m = len(rows[0]), len(others[0])
    total = torch.empty(n, m, dtype=torch.float64, device=rows[0].device)
    nothing = torch.zeros(max(n, m), dtype=torch.float64, device=rows[0].device)
    ignored, count = (torch.zeros(1, dtype=torch.int64, device=total.device) for _ in range(2))
    _triton.pairs(
        (rows[0], rows[1], nothing), (others[0], others[1], nothing), by.factor.shape[1], 0.0, total, ignored, count,
        root=False,
    )  # fmt: skip
    if others_only:
        own = torch.arange(n, device=total.device)
        total[own, start + own] = torch.inf
    values, found = total.topk(kept, dim=1, largest=False, sorted=False)
    if others_only:
        found = found.masked_fill(values == torch.inf, -1)
    # Where all are kept, none is left to be nearer.
    return torch.full_like(values, torch.inf) if kept == m else values, found


def _all(
    x: torch.Tensor, Y: torch.Tensor, factor: torch.Tensor, k: int, without: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest of one row from the original rows, all of them."""
    numbers = torch.arange(len(Y), device=Y.device)
    exact = torch.cat(
        [_triton.exact(x, Y, torch.zeros_like(part), part, factor) for part in _parts(numbers, _DOUBTFUL)]
    )
    if without >= 0:
        exact[without] = torch.inf
    exact, order = torch.sort(exact, stable=True)
    return exact[:k], order[:k]


def _parts(whole: torch.Tensor, most: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(whole), most):
        yield whole[start : start + most]


def _slabs(n: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Rows that are worked on at a time: from, to."""
    step = max(1, _SLAB // row_bytes)
    for start in range(0, n, step):
        yield start, min(start + step, n)
