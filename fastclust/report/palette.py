"""Colours of clusters and labels, for the page and the picture alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["categorical", "categorical_hex"]

# Chosen one after another so that each is as far as can be from those before it, in OKLab (Ottosson, 2020), by normal
# sight and as simulated for protanopia and deuteranopia (Machado et al., 2009), whichever is nearest; of middling
# lightness and chroma, to be calm and to stand out on white and on black.
_COLORS = (
    "4477aa ee8a3c a8325e 00d9d0 b38eff 977100 5ea18e 7139a1 b3c68e 8e4200 "
    "848ec6 71c6ff ecb300 d9685e 136871 685ec6 aa5e55 c697bd 4284e3 b34c97 "
    "84b371 c67b09 4cb3d9 9768c6 a1d05e 00a168 266839 e37b97 7bc6aa a17ba1 "
    "398e7b 5e7139 97398e 26a1e3 4255bd 00b3aa 267b7b 8eaa2f 97aaf6 a15509 "
    "d9a18e aa7142 6855a1 5ec6d9 71c668 689709 395e84 847bb3 8484f6 2668b3 "
    "4c71d9 d9aa4c d071c6 4caa7b 7b6897 bda155 a12f39 42d9a1 b384d9 e3aabd "
    "aa4c5e 97265e 55842f 844c71 d97b5e d08ed0 557100 c65e8e 2fc68e 55a1aa "
    "d0aa00 71974c bdb3ec b3a1e3 975e84 0084d0 844c4c c684ec 1355aa 26aaff "
    "975eaa c68471 4cb3bd ec71aa bd5571 d0b371 b38442 7b4c26 7b55b3 4c97b3 "
    "55c6bd 557bbd 2f7b4c d98484 8e71d9 68bda1 7b84d9 bdc639 d09700 1c8471 "
).split()  # noqa: SIM905 - as a list, a hundred lines


def categorical_hex(count: int) -> list[str]:
    """Return ``count`` colours as "#rrggbb": a hundred that differ, then the same again."""
    return [f"#{_COLORS[number % len(_COLORS)]}" for number in range(count)]


def categorical(count: int) -> NDArray[np.float64]:
    """Return :func:`categorical_hex` as ``[count, 3]`` in [0, 1]."""
    channels = [[int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)] for text in categorical_hex(count)]
    return np.array(channels, np.float64).reshape(count, 3)
