"""The map as a picture: points counted into pixels, colours mixed by count, density shown by strength."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.artifacts import replacing
from fastclust.report.palette import categorical

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["write_map_png"]

_SIDE = 1400
_MARGIN = 60
_HEAD = 90
_LEGEND = 24
_BLOCK = 100_000
_INK = (29, 33, 39)
_SOFT = (93, 102, 114)


def write_map_png(
    path: str | os.PathLike[str], points: NDArray[Any], labels: NDArray[Any], *, title: str = "", note: str = ""
) -> None:
    """Draw the map, coloured by cluster, as a PNG of about 1400 x 1500 pixels.

    Parameters
    ----------
    path
        Where to.
    points
        ``[n, 2]``.
    labels
        int ``[n]``: the cluster of each point, from 0.
    title, note
        Two lines above the map.
    """
    from PIL import Image, ImageDraw, ImageFont

    count = int(labels.max()) + 1
    colors = categorical(count)
    canvas = Image.new("RGB", (_SIDE, _SIDE + _HEAD), "white")
    canvas.paste(Image.fromarray(_shade(points, labels, colors)), (0, _HEAD))
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, 24), title, fill=_INK, font=ImageFont.load_default(30))
    draw.text((_MARGIN, 62), note, fill=_SOFT, font=ImageFont.load_default(18))
    _number_clusters(draw, points, labels, colors, ImageFont.load_default(22))
    with replacing(path) as temporary:
        canvas.save(temporary, "PNG", optimize=True)


def _place(points: NDArray[Any]) -> NDArray[np.float64]:
    """Pixel positions ``[n, 2]``, with one scale for both axes."""
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    span = max(float((high - low).max()), 1e-12)
    middle = (low + high) / 2
    placed: NDArray[np.float64] = (points - middle) / span * (_SIDE - 2 * _MARGIN) + _SIDE / 2
    placed[:, 1] = _SIDE - placed[:, 1]
    return placed


def _shade(points: NDArray[Any], labels: NDArray[Any], colors: NDArray[np.float64]) -> NDArray[np.uint8]:
    placed = _place(points)
    # Dots grow as points get fewer, so that small sets are not dust.
    radius = float(np.clip(260 / np.sqrt(len(points)), 1.3, 6.5))
    reach = int(np.ceil(radius))
    offsets = np.stack(np.meshgrid(*2 * [np.arange(-reach, reach + 1)]), axis=-1).reshape(-1, 2)
    sums = np.zeros((4, _SIDE * _SIDE))
    for start in range(0, len(points), _BLOCK):
        part, tint = placed[start : start + _BLOCK, None], colors[labels[start : start + _BLOCK]]
        pixels = np.rint(part) + offsets  # [points, offsets, 2]
        # Distance from the pixel's middle to the true place: edges are soft, and dots need no grid.
        strength = np.clip(radius + 0.5 - np.hypot(*np.moveaxis(pixels - part, 2, 0)), 0, 1)
        point, _ = keep = np.nonzero(strength)
        at = (pixels[keep][:, 1] * _SIDE + pixels[keep][:, 0]).astype(np.int64)
        sums[3] += np.bincount(at, strength[keep], _SIDE * _SIDE)
        for channel in range(3):
            sums[channel] += np.bincount(at, strength[keep] * tint[point, channel], _SIDE * _SIDE)
    tinted, weight = sums[:3].T, sums[3]
    seen = weight > 0
    mean = tinted[seen] / weight[seen, None]
    cover = 1 - np.exp(-1.2 * weight[seen])
    picture = np.ones((_SIDE * _SIDE, 3))
    picture[seen] = 1 - cover[:, None] * (1 - mean)
    return (255 * picture + 0.5).astype(np.uint8).reshape(_SIDE, _SIDE, 3)


def _number_clusters(
    draw: Any, points: NDArray[Any], labels: NDArray[Any], colors: NDArray[np.float64], font: Any
) -> None:
    """Write each cluster's number at its medoid on the map, where there are few enough to read."""
    if len(colors) > _LEGEND * 2:
        return
    placed = _place(points)
    for cluster, color in enumerate(colors):
        own = placed[labels == cluster]
        if not len(own):
            continue
        middle = np.median(own, axis=0)
        x, y = own[np.argmin(((own - middle) ** 2).sum(axis=1))]
        dark = tuple(int(255 * channel * 0.6) for channel in color)
        draw.text((x, y + _HEAD), str(cluster), fill=dark, font=font, anchor="mm", stroke_width=4, stroke_fill="white")
