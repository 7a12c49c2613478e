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
_COLORS = bytes.fromhex(
    "4a7fb5 ee8a3c b8406a 13d9d0 b38eff a17100 00aa8e b3c68e 71aac6 ecb300 "
    "ec6871 97bdff 685ec6 8484d9 845e8e 71bda1 848e55 0097aa aa5542 c67b1c "
    "a1d05e ec84d9 c6aa71 aa6884 557be3 f697aa 71b342 13bde3 68a171 a184bd "
    "d0848e 8455aa 8e68d0 d08ebd 398484 bd555e c65ea1 d07155 9784f6 689726 "
    "a15e13 4caae3 97aaff 4c7b4c 2fc67b aabd55 aa55a1 4cd0e3 b3a100 d071aa "
    "429771 b368c6 718439 e3a18e 00d0b3 b384d0 b3aaec 4c71bd f68497 0097ec "
    "b3a168 5ec6c6 6884c6 e3aabd a14c7b 428e97 ec845e 97a155 d9aa26 7bd071 "
    "bd97d0 68a1f6 bdc639 55bd8e 4ca1aa d07b42 a16871 5eb3a1 00b37b bd6868 "
    "aa7139 0084a1 4c7197 e36897 6897e3 7b9742 ff9755 a168b3 d097b3 42d997 "
    "a15e7b aa971c bda142 bd4255 c65e00 71712f 5e84ec d96868 7b7bd9 bd7b84 "
)


def categorical_hex(count: int) -> list[str]:
    """Return ``count`` colours as "#rrggbb": a hundred that differ, then the same again."""
    places = (3 * number % len(_COLORS) for number in range(count))
    return [f"#{_COLORS[at : at + 3].hex()}" for at in places]


def categorical(count: int) -> NDArray[np.float64]:
    """Return :func:`categorical_hex` as ``[count, 3]`` in [0, 1]."""
    channels = [[int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)] for text in categorical_hex(count)]
    return np.array(channels, np.float64).reshape(count, 3)
