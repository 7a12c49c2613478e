"""The whole self-taught loss of a batch, with its slopes, in as few passes over its [N, N] matrices as it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from fastclust.errors import InputError
from fastclust.learning.losses.checks import check_matrix
from fastclust.learning.losses.distances import squares_within

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SelfTaughtLoss"]


class SelfTaughtLoss(nn.Module):
    """(RC(f) + RC(g)) / 2 + KL, as :class:`RelaxedContrastiveLoss` and :class:`SelfDistillationLoss` give them.

    The distances of f and of g are made once, and the slopes with the loss. It can be differentiated once.
    Source: Kim, Kim, Cho, Kwak, CVPR 2022.

    Parameters
    ----------
    margin
        Of RC.
    temperature
        Of KL.
    use_g, use_distillation
        False: RC(f) alone; without KL.
    """

    def __init__(
        self, margin: float = 1.0, temperature: float = 1.0, *, use_g: bool = True, use_distillation: bool = True
    ) -> None:
        super().__init__()
        for name, value in (("margin", margin), ("temperature", temperature)):
            if not value > 0:
                raise InputError(name, value, "a number above 0")
        self.margin, self.temperature = margin, temperature
        self.use_g, self.use_distillation = use_g, use_distillation

    def forward(self, student_f: Tensor, student_g: Tensor, W: Tensor) -> Tensor:
        """Return the loss, a scalar in the dtype of ``student_f`` ``[N, d]``, N at least 2.

        ``student_g`` is ``[N, d2]``, ``W`` ``[N, N]`` in [0, 1] and gets no gradient. Raises InputError for other
        shapes.
        """
        check_matrix("student_f", student_f)
        check_matrix("student_g", student_g)
        rows = len(student_f)
        if rows < 2:
            raise InputError("student_f", f"{rows} row", "at least 2 rows")
        if len(student_g) != rows:
            raise InputError("student_g", f"{len(student_g)} rows", f"{rows}, as many as student_f")
        if W.shape != (rows, rows):
            raise InputError("W", f"shape {tuple(W.shape)}", f"({rows}, {rows})")
        found: Tensor = _Together.apply(  # type: ignore[no-untyped-call]
            student_f,
            student_g if self.use_g else None,
            W,
            self.margin,
            self.temperature if self.use_distillation else None,
        )
        return found


class _Relative(NamedTuple):
    """Relative distances of rows, and what leads back from them to the rows."""

    #: [N, d], their mean taken out.
    rows: Tensor
    #: [N, N], and their means [N, 1].
    distances: Tensor
    means: Tensor
    #: distances / means.
    relative: Tensor

    @staticmethod
    def of(rows: Tensor) -> _Relative:
        rows = rows - rows.mean(0)
        distances = squares_within(rows).sqrt_()
        means = distances.mean(1, keepdim=True).clamp_min_(torch.finfo(rows.dtype).tiny)
        return _Relative(rows, distances, means, distances / means)

    def slope(self, by_relative: Tensor) -> Tensor:
        """Return the slope by the rows ``[N, d]`` of what has the slope ``by_relative`` ``[N, N]``; both are used up.

        The mean carries slope too. Rows that coincide have no direction from each other, and no slope.
        """
        shares = torch.linalg.vecdot(by_relative, self.relative)[:, None] / len(by_relative)
        by_distance = by_relative.sub_(shares).div_(self.means)
        pull = by_distance + by_distance.T
        pull.div_(self.distances.masked_fill_(self.distances == 0, float("inf")))
        return torch.addmm(pull.sum(1, keepdim=True) * self.rows, pull, self.rows, alpha=-1)


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: Tensor, g: Tensor | None, W: Tensor, margin: float, temperature: float | None) -> Tensor:
        of_f = _Relative.of(f)
        loss, slope_f = _relaxed(of_f.relative, W, margin)
        slope_g = None
        if g is not None:
            of_g = _Relative.of(g)
            other, by_g = _relaxed(of_g.relative, W, margin)
            loss = (loss + other) / 2
            slope_f.div_(2)
            if temperature is not None:
                loss = loss + _distilled(of_f.relative, of_g.relative, temperature, slope_f)
            slope_g = of_g.slope(by_g.div_(2)) if ctx.needs_input_grad[1] else None
        ctx.save_for_backward(of_f.slope(slope_f) if ctx.needs_input_grad[0] else None, slope_g)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        (by_loss,) = grads
        slopes = (None if slope is None else slope * by_loss for slope in ctx.saved_tensors)
        return *slopes, None, None, None


def _relaxed(relative: Tensor, W: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Return RC and its slope by the relative distances D.

    The terms W D^2 + (1 - W) r^2 with r = relu(margin - D) have the slopes 2 (W D - (1 - W) r).
    """
    pairs = len(W) * (len(W) - 1)
    short = (margin - relative).clamp_min_(0).fill_diagonal_(0)
    near = W * relative  # its diagonal is 0 as that of the distances is
    far = torch.addcmul(short, W, short, value=-1)
    total: Tensor = torch.linalg.vecdot(near, relative) + torch.linalg.vecdot(far, short)
    return total.sum() / pairs, near.sub_(far).mul_(2 / pairs)


def _distilled(of_f: Tensor, of_g: Tensor, temperature: float, slope: Tensor) -> Tensor:
    """Return mean_i KL(softmax(-D^g / t) || softmax(-D^f / t)), and add its slope by D^f to ``slope``."""
    target = torch.log_softmax(of_g * (-1 / temperature), 1)
    found = torch.log_softmax(of_f * (-1 / temperature), 1)
    probable = target.exp()
    loss: Tensor = torch.linalg.vecdot(probable, target.sub_(found)).mean()
    slope.add_(probable.sub_(found.exp_()), alpha=1 / (temperature * len(of_f)))
    return loss
