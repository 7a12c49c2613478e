"""Assignment of the same rows again and again on a torch device: what :mod:`moving` does on the CPU."""

from __future__ import annotations

import numpy as np
import torch

from fastclust_kernels.assign import _triton, _triton_exact, _triton_split
from fastclust_kernels.assign.screening import CERTIFIED, PRODUCTS, Screening

__all__ = ["DeviceAssignment"]

#: Rows that are further out than this many times their squared spread are moved; as on the CPU.
_FAR = 4.0
#: Largest number, as a power of two, after scaling: float16 ends just below 2**16, and centres may move.
_TOP = 13
#: Powers of two that float32 has.
_LEAST, _MOST = -126, 126


class DeviceAssignment:
    """Nearest centres of ``X`` ``[n, d]`` for one set of centres after the other, certified.

    Of ``[b, n, d]`` too: b problems that have nothing to do with each other, in the same launches. What is ``[n]`` or
    ``[k, d]`` below is then ``[b, n]`` or ``[b, k, d]``.

    Labels are those of a float64 brute force on every row that is not tied to float64's precision (README.md).

    Parameters
    ----------
    X
        float16, bfloat16, float32 or float64, C-contiguous, finite; not copied. A float16 copy is kept beside it, of
        4 bytes a number for the products "tf32" and "split".
    frame
        ``frame`` of an earlier assignment of the same rows: nothing waits for the device then.
    screening
        What screens rows, and whether float64 decides what the screen leaves open. If not, the score of such a row's
        label is within twice the bound (README.md) of the best.
    """

    def __init__(
        self,
        X: torch.Tensor,
        frame: tuple[torch.Tensor, torch.Tensor] | None = None,
        *,
        screening: Screening = CERTIFIED,
    ) -> None:
        self.screening, self._product = screening, PRODUCTS[screening.product]
        self._shape = X.shape[:-1]
        self._rows = X if X.ndim == 3 else X[None]
        problems, n, self._d = self._rows.shape
        self._labels = torch.full((problems, n), -1, dtype=torch.int32, device=X.device)
        self._open = torch.empty(problems, n, dtype=torch.int32, device=X.device)
        self._candidates = torch.empty(2, problems, n, dtype=torch.int32, device=X.device)
        self._count = torch.zeros(problems, dtype=torch.int32, device=X.device)
        self._screen: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self._seconds: torch.Tensor | None = None
        #: Where the origin moves to, float64 ``[b, d]``, and what powers of two scale, ``[b]``: known after a step.
        self.frame = frame

    def step(self, centers: torch.Tensor, *, seconds: bool = False) -> torch.Tensor:
        """Labels int32 ``[n]`` for ``centers`` ``[k, d]``; the next step reuses the tensor.

        With ``seconds``, :meth:`beyond` then has a bound on the second nearest. Nothing waits for the device, but for
        the first step.
        """
        centers = self._of_each(centers)
        if self._screen is None:
            self.frame = self.frame or _frame(self._rows, centers)
            self._screen = _triton_split.split(self._rows, *self.frame, _triton.ROWS, self._product, halves=False)[:3]
        assert self.frame is not None
        copies, norms, losses, halves = _triton_split.split(
            centers, *self.frame, _triton.CENTERS, self._product, halves=True
        )
        k = centers.shape[1]
        figures = torch.stack([part[:, :k].amax(dim=1) for part in (norms, losses, halves)], dim=1)
        self._count.zero_()
        self._seconds = torch.empty_like(self._labels, dtype=torch.float32) if seconds else None
        split_centers = copies, halves
        _triton.screen(
            self._product, self._rows.shape[1], self._screen, split_centers, figures, self._labels, self._seconds,
            self._open, self._count,
        )  # fmt: skip
        if self.screening.repair:
            _triton.settle(
                self._product, self._rows, self._screen, centers, split_centers, figures, self._labels, self._open,
                self._count, self._candidates,
            )  # fmt: skip
        return self._labels.view(self._shape)

    @property
    def doubtful(self) -> torch.Tensor:
        """How many rows the last step's screen left open: int32 ``[1]``, or ``[b]``, on the device."""
        return self._count

    @property
    def certified(self) -> float:
        """Share of the rows that the last step's screen decided; waits for the device."""
        return 1.0 - int(self._count.sum()) / self._labels.numel()

    def distances(self, centers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Squared distances to the centres of the labels, by differences: float64 ``[n]``."""
        found = torch.full(self._shape, torch.nan, dtype=torch.float64, device=self._rows.device)
        _triton_exact.own(self._rows, self._of_each(centers), labels.contiguous(), found)
        return found

    def _of_each(self, centers: torch.Tensor) -> torch.Tensor:
        return (centers if centers.ndim == 3 else centers[None]).contiguous()

    def beyond(self) -> torch.Tensor:
        """Lower bound, float64 ``[n]``, on the squared distance to every centre but that of the label.

        Of the last step, which was asked for ``seconds``.
        """
        assert self._seconds is not None
        assert self._screen is not None
        assert self.frame is not None
        _, norms, losses = (part[:, : self._labels.shape[1]] for part in self._screen)
        # |x|^2 - 2 s, with the least |x| and the largest s.
        least = (norms.double() * (1 - (self._d + 16) * 2.5e-7) - 2 * losses.double() - 3e-18).clamp_min(0.0)
        bound = least * least - 2 * self._seconds.double()
        return (bound / self.frame[1][:, None] ** 2).clamp_min(0.0).view(self._shape)


def _frame(X: torch.Tensor, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the origin is moved to, float64 ``[b, d]``, and by what powers of two rows are scaled, float64 ``[b]``."""
    wide = centers.double()
    middle = wide.mean(dim=1)
    spread = (wide - middle[:, None]).square().sum(dim=2).mean(dim=1)
    far = middle.square().sum(dim=1) > _FAR * spread
    # Exact in the arithmetic of the kernels.
    kind = torch.float64 if X.dtype == torch.float64 else torch.float32
    shift = torch.where(far[:, None], middle, torch.zeros_like(middle)).to(kind).double()
    low, high = torch.aminmax(X, dim=1)
    lowest, highest = torch.aminmax(wide, dim=1)
    low, high = torch.minimum(low.double(), lowest), torch.maximum(high.double(), highest)
    widest = torch.maximum(high - shift, shift - low).amax(dim=1).cpu().numpy()
    sound = (widest > 0) & np.isfinite(widest)
    power = np.clip(_TOP - np.frexp(np.where(sound, widest, 1.0))[1] + 1, _LEAST, _MOST)
    return shift, torch.from_numpy(np.ldexp(1.0, np.where(sound, power, 0))).to(X.device)
