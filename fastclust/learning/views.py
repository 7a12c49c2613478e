"""Views: changed copies of rows that still show the same thing."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from fastclust.learning.devices import sent

__all__ = ["GivenViews", "ImageViews", "MixedViews", "Views", "random_affine"]

#: At strength 1: turn and shear in radians, change of scale, and shift in half image sides, each way.
_TURN, _SHEAR, _SCALE, _SHIFT = 0.2, 0.15, 0.12, 0.12


class Views(Protocol):
    """Where a trainer draws its rows.

    Rows and random numbers come from the host, so that they are the same everywhere; views are made where the rows'
    values are.
    """

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each of ``rows`` (int64 ``[b]``), ``[b, d]``."""
        ...


def random_affine(images: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Return images ``[b, c, h, w]``, each turned, sheared, scaled and shifted a little; zeros come in at the edges."""
    draws = (torch.rand(5, len(images), generator=generator) * 2 - 1) * strength
    angle, shear, scale = draws[0] * _TURN, draws[1] * _SHEAR, 1 + draws[2] * _SCALE
    shift = draws[3:] * _SHIFT
    cosine, sine = torch.cos(angle), torch.sin(angle)
    upper = torch.stack([cosine / scale, shear - sine / scale, shift[0]], 1)
    lower = torch.stack([sine * scale, cosine * scale, shift[1]], 1)
    matrices = sent(torch.stack([upper, lower], 1).to(images.dtype), images.device)  # [b, 2, 3]
    grid = nn.functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


class ImageViews:
    """Rows that are pixels, turned and shifted as images, then brought to length 1 again.

    Parameters
    ----------
    rows
        float32 ``[n, height * width * channels]``.
    shape
        (height, width, channels).
    strength
        Factor of all changes.
    """

    def __init__(self, rows: Tensor, shape: tuple[int, int, int], strength: float = 1.0) -> None:
        self._rows = rows
        self._shape = shape
        self._strength = strength

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each row."""
        images = self._rows[sent(rows, self._rows.device)].view(-1, *self._shape).permute(0, 3, 1, 2)
        changed = random_affine(images, generator, self._strength).permute(0, 2, 3, 1).flatten(1)
        return nn.functional.normalize(changed, dim=1)


class GivenViews:
    """Views that were computed before: of each row one of them, or the row itself.

    Parameters
    ----------
    rows
        float32 ``[n, d]``.
    views
        float32 ``[n, v, d]``.
    """

    def __init__(self, rows: Tensor, views: Tensor) -> None:
        self._rows = rows
        self._views = views

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each row."""
        choice = torch.randint(self._views.shape[1] + 1, (len(rows),), generator=generator)
        own, other = self._rows.device, self._views.device
        drawn = self._views[sent(rows, other), sent((choice - 1).clamp_min(0), other)]
        return torch.where(sent(choice == 0, own)[:, None], self._rows[sent(rows, own)], sent(drawn, own))


class MixedViews:
    """For rows without images: each is moved part of the way to one of its nearest neighbours.

    Parameters
    ----------
    rows
        float32 ``[n, d]``.
    neighbors
        int64 ``[n, k]``.
    most
        Largest part of the way.
    """

    def __init__(self, rows: Tensor, neighbors: Tensor, most: float) -> None:
        self._rows = rows
        self._neighbors = neighbors
        self._most = most

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each row."""
        choice = torch.randint(self._neighbors.shape[1], (len(rows),), generator=generator)
        share = torch.rand(len(rows), 1, generator=generator) * self._most
        rows, choice, share = (sent(drawn, self._rows.device) for drawn in (rows, choice, share))
        start = self._rows[rows]
        return start + share * (self._rows[self._neighbors[rows, choice]] - start)
