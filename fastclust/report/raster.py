"""The map as a picture: points counted into pixels, colours mixed by count, density shown by strength."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.artifacts import replacing
from fastclust.errors import InputError
from fastclust.report.palette import categorical

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["write_map_png"]

_SIDE = 1400
_MARGIN = 60
_HEAD = 96
_FOOT = 28
#: Clusters up to which the picture numbers them and has a legend.
_NAMED = 42
_LEGEND_COLUMNS = 7
_LEGEND_LINE = 34
_BLOCK = 100_000
_AT_ONCE = 400_000
_INK = (27, 31, 36)
_SOFT = (91, 100, 112)


def write_map_png(
    path: str | os.PathLike[str], points: NDArray[Any], labels: NDArray[Any], *, title: str = "", note: str = ""
) -> None:
    """Draw the map, coloured by cluster, as a PNG 1400 pixels wide, with a legend of up to 42 clusters.

    Where points lie on each other, their colours mix by count; strength grows with the logarithm of the count, so
    that both single points and crowds are seen.

    Parameters
    ----------
    path
        Where to.
    points
        ``[n, 2]``.
    labels
        int ``[n]``: the cluster of each point; below 0 for none.
    title, note
        Two lines above the map.

    Raises
    ------
    InputError
        Other shapes, or no point.
    """
    from PIL import Image, ImageDraw

    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != (len(points),) or not len(points):
        raise InputError("points", f"shape {points.shape} with labels {labels.shape}", "[n, 2] with [n], n at least 1")
    kinds, places = np.unique(labels, return_inverse=True)
    colors = _colors_of(kinds)
    placed = _place(points)
    shown = len(kinds) <= _NAMED
    lines = -(-len(kinds) // _LEGEND_COLUMNS) if shown else 0
    height = _HEAD + _SIDE - _MARGIN + _LEGEND_LINE * lines + _FOOT
    canvas = Image.new("RGB", (_SIDE, height), "white")
    canvas.paste(Image.fromarray(_shade(placed, places, colors)), (0, _HEAD - _MARGIN // 2))
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, 28), _fit(draw, title), fill=_INK, font=_font(30))
    draw.text((_MARGIN, 68), note, fill=_SOFT, font=_font(18))
    if shown:
        _write_numbers(draw, placed + np.array([0, _HEAD - _MARGIN // 2]), kinds, places, colors)
        _write_legend(draw, height - _FOOT - _LEGEND_LINE * lines, kinds, np.bincount(places), colors)
    with replacing(path) as temporary:
        canvas.save(temporary, "PNG")


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _fit(draw: Any, text: str) -> str:
    """Shorten a title to the picture's width; what the font cannot say is left out by it."""
    text = " ".join(text.split())
    while text and draw.textlength(text, font=_font(30)) > _SIDE - 2 * _MARGIN:
        text = text[: -max(2, len(text) // 20)].rstrip("…") + "…"
    return text


def _colors_of(kinds: NDArray[Any]) -> NDArray[np.float64]:
    """Colours by cluster number, as on the page; grey for none."""
    colors: NDArray[np.float64] = categorical(max(int(kinds.max()) + 1, 1))[np.maximum(kinds, 0)]
    colors[kinds < 0] = 0.55
    return colors


def _place(points: NDArray[Any]) -> NDArray[np.float64]:
    """Pixel positions ``[n, 2]``, with one scale for both axes."""
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    span = max(float((high - low).max()), 1e-12)
    placed: NDArray[np.float64] = (points - (low + high) / 2) / span * (_SIDE - 2 * _MARGIN) + _SIDE / 2
    placed[:, 1] = _SIDE - placed[:, 1]
    return placed


def _shade(placed: NDArray[np.float64], places: NDArray[Any], colors: NDArray[np.float64]) -> NDArray[np.uint8]:
    # Dots grow as points get fewer, so that small sets are not dust.
    radius = float(np.clip(260 / np.sqrt(len(placed)), 0.9, 6.5))
    reach = int(np.ceil(radius))
    offsets = np.stack(np.meshgrid(*2 * [np.arange(-reach, reach + 1)]), axis=-1).reshape(-1, 2)
    sums = np.zeros((4, _SIDE * _SIDE))
    for start in range(0, len(placed), _BLOCK):
        part, tint = placed[start : start + _BLOCK], colors[places[start : start + _BLOCK]]
        middle = np.rint(part)
        # As many offsets at once as memory bears: each count passes over the whole picture.
        together = max(1, _AT_ONCE // len(part))
        for first in range(0, len(offsets), together):
            pixels = middle + offsets[first : first + together, None]  # [offsets, points, 2]
            # Distance from the pixel's middle to the true place: edges are soft, and dots need no grid.
            strength = np.clip(radius + 0.5 - np.linalg.norm(pixels - part, axis=2), 0, 1)
            at = (pixels[..., 1] * _SIDE + pixels[..., 0]).astype(np.int64).ravel()
            sums[3] += np.bincount(at, strength.ravel(), _SIDE * _SIDE)
            for channel in range(3):
                sums[channel] += np.bincount(at, (strength * tint[:, channel]).ravel(), _SIDE * _SIDE)
    seen = sums[3] > 0
    weight = sums[3][seen]
    mean = sums[:3, seen].T / weight[:, None]
    crowd = max(float(np.quantile(weight, 0.99)), 2.0)
    cover = np.minimum(weight, 1) * np.clip(0.55 + 0.45 * np.log(np.maximum(weight, 1)) / np.log(crowd), 0, 1)
    picture = np.ones((_SIDE * _SIDE, 3))
    picture[seen] = 1 - cover[:, None] * (1 - mean)
    return (255 * picture + 0.5).astype(np.uint8).reshape(_SIDE, _SIDE, 3)


def _write_numbers(
    draw: Any, placed: NDArray[np.float64], kinds: NDArray[Any], places: NDArray[Any], colors: NDArray[np.float64]
) -> None:
    """Write each cluster's number at the point nearest to its middle."""
    for place, kind in enumerate(kinds):
        own = placed[places == place]
        middle = np.median(own, axis=0)
        x, y = own[np.argmin(((own - middle) ** 2).sum(axis=1))]
        draw.text(
            (x, y), _name(kind), fill=_dark(colors[place]), font=_font(24), anchor="mm", stroke_width=5,
            stroke_fill="white",
        )  # fmt: skip


def _write_legend(draw: Any, top: int, kinds: NDArray[Any], counts: NDArray[Any], colors: NDArray[np.float64]) -> None:
    """Write swatch, number and size of each cluster, in columns."""
    wide = (_SIDE - 2 * _MARGIN) // _LEGEND_COLUMNS
    for place, kind in enumerate(kinds):
        x, y = _MARGIN + wide * (place % _LEGEND_COLUMNS), top + _LEGEND_LINE * (place // _LEGEND_COLUMNS)
        draw.ellipse((x, y + 4, x + 14, y + 18), fill=tuple(int(255 * channel) for channel in colors[place]))
        draw.text((x + 24, y + 11), _name(kind), fill=_INK, font=_font(18), anchor="lm")
        start = x + 34 + draw.textlength(_name(kind), font=_font(18))
        draw.text((start, y + 11), f"{counts[place]:,}", fill=_SOFT, font=_font(18), anchor="lm")


def _name(kind: Any) -> str:
    return str(int(kind)) if kind >= 0 else "none"


def _dark(color: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(int(255 * channel * 0.55) for channel in color)
