"""A small residual net for small images, trained from random weights (He, Zhang, Ren, Sun, CVPR 2016)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["SmallResNet"]


class _Block(nn.Module):
    """Two 3x3 convolutions beside a short cut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.short = nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(maps)))
        out: Tensor = torch.relu(self.second_norm(self.second(inner)) + self.short(maps))
        return out


class SmallResNet(nn.Module):
    """A stem and three residual blocks at a half, a quarter and an eighth of the sides; means and maxima of the maps.

    Parameters
    ----------
    shape
        (height, width, channels) of the images that rows are.
    channels
        Of the first block; doubled in each further one.
    seed
        Of the first weights.
    """

    def __init__(self, shape: tuple[int, int, int], *, channels: int = 32, seed: int = 0) -> None:
        super().__init__()
        self.config = {"shape": list(shape), "channels": channels}
        self._shape = shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(shape[2], channels, 3, stride=2, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(channels)
            self.blocks = nn.Sequential(
                _Block(channels, channels, 1),
                _Block(channels, 2 * channels, 2),
                _Block(2 * channels, 4 * channels, 2),
            )
        self.width = 8 * channels

    def forward(self, rows: Tensor) -> Tensor:
        """Return features ``[b, 8 * channels]`` of rows ``[b, height * width * channels]`` of length about 1."""
        images = rows.view(-1, *self._shape).permute(0, 3, 1, 2) * math.sqrt(rows.shape[1])
        maps = self.blocks(torch.relu(self.norm(self.stem(images))))
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
