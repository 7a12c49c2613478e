"""Colours of clusters; the same as the page's (page/src/colors.js)."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["categorical"]

_FIRST = ("4477aa", "ee7733", "228833", "cc3311", "aa3377", "66ccee", "bbaa22", "885533", "ee99aa", "777777")


def categorical(count: int) -> NDArray[np.float64]:
    """Return ``[count, 3]`` colours in [0, 1]: ten that most eyes tell apart, then hues by the golden angle."""
    colors = [[int(text[at : at + 2], 16) / 255 for at in (0, 2, 4)] for text in _FIRST[:count]]
    for number in range(len(colors), count):
        hue, light = (number * 137.508) % 360 / 360, 0.42 if number % 2 else 0.62
        colors.append(list(colorsys.hls_to_rgb(hue, light, 0.55)))
    return np.array(colors).reshape(count, 3)
