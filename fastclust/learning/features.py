"""From images to rows of numbers, the input of the learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError
from fastclust.progress import report

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from fastclust.data import ImageSource

__all__ = ["FeatureSet", "compute_features", "unit_rows"]

_NAMES = ("auto", "pixels", "efficientnet-lite0")
#: Largest side of images whose pixels "auto" takes as they are.
SMALL = 64
#: Largest side that "pixels" keeps.
LARGEST_PIXELS = 32
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Rows of numbers computed from images."""

    #: float32 [n, d], of length 1 (all zero for an image without any brightness).
    values: NDArray[np.float32]
    #: float32 [n, v, d]: the same of v randomly changed copies of each image; None where none were asked for.
    views: NDArray[np.float32] | None
    #: What was computed: "pixels", or the name of a net.
    name: str
    #: Pixels a side that images were brought to; None where they were taken as they are.
    image_size: int | None
    #: (height, width, channels) that a row can be shaped into; None where rows are no pixels.
    image_shape: tuple[int, int, int] | None = None


def compute_features(
    images: ImageSource,
    *,
    features: str = "auto",
    size: int | None = None,
    views: int = 1,
    random_state: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> FeatureSet:
    """Compute one row for each image.

    "pixels": images of up to 32 pixels a side that all have one shape as they are, others as their middle square at
    32; brightness / 255 as float32, flattened in the order height, width, channel, divided by its L2 norm.
    "efficientnet-lite0": pooled features of that net with its ImageNet weights, divided by their L2 norm.

    Parameters
    ----------
    images
        What :func:`fastclust.open_images` returns.
    features
        "pixels", "efficientnet-lite0", "timm:NAME" or "hf:NAME" (pooled features of a net of the timm or transformers
        package, with its weights), or "auto": pixels for images of up to 64 pixels a side, else
        "efficientnet-lite0" where its packages are installed, else pixels. The choice is in ``name``.
    size
        Pixels a side to bring images to, at least 4.
    views
        Above 1, ``views`` randomly shifted, scaled and turned copies of each image are computed as well.
    random_state
        Seed of the views.
    checkpoint
        Folder in which features of a net are kept every few seconds, so that another call with the same images goes on
        there, to the same numbers; the caller removes it. Views, and pixels, which are quick, are not kept.
    device
        Where a net is asked: as for :class:`fastclust.SelfTaughtLearner`. Pixels stay on the CPU.

    Raises
    ------
    BackendError
        The device is not there.
    InputError
        An unknown name, or a size or number of views out of range.
    MissingPackageError
        A net was asked for whose package is not installed.
    """
    outside = isinstance(features, str) and features.startswith(("timm:", "hf:"))
    if features not in _NAMES and not outside:
        raise InputError("features", repr(features), f"{', '.join(_NAMES)}, timm:NAME, hf:NAME")
    if size is not None and size < 4:
        raise InputError("size", size, "at least 4 pixels")
    if views < 1:
        raise InputError("views", views, "at least 1")
    if device != "auto":
        from fastclust.learning.devices import choose_device

        choose_device(device)
    name = _choose(images, size) if features == "auto" else features
    if name not in ("auto", "pixels"):
        from fastclust.learning import pretrained

        return pretrained.compute(
            images, name, size=size, views=views, random_state=random_state, checkpoint=checkpoint, device=device
        )
    if size is None and _needs_size(images):
        size = LARGEST_PIXELS
    blocks = []
    done = 0
    for block in images.blocks(_BLOCK, size=size):
        blocks.append(unit_rows(block.reshape(len(block), -1)))
        done += len(block)
        report("features", done, len(images), f"{done} of {len(images)} images")
    values = np.concatenate(blocks)
    shape = (size, size, images.shape[2]) if size else images.shape
    drawn = _views(values, shape, views, random_state) if views > 1 else None
    return FeatureSet(values, drawn, "pixels", size, shape)


def unit_rows(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows as float32 of length 1; rows of zeros stay."""
    values = rows.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values /= np.where(lengths > 0, lengths, 1)
    return values


def _choose(images: ImageSource, size: int | None) -> str:
    from fastclust.learning import pretrained

    side = size or max(images.shape[:2])
    return "efficientnet-lite0" if side > SMALL and pretrained.installed() else "pixels"


def _needs_size(images: ImageSource) -> bool:
    """Whether images are large, or differ in shape."""
    first = images.shape[:2]
    if max(first) > LARGEST_PIXELS:
        return True
    from fastclust.data.arrays import ArrayImages

    if isinstance(images, ArrayImages):
        return False
    return any((image.height, image.width) != first for image in map(images.image, range(len(images))))


def _views(
    values: NDArray[np.float32], shape: tuple[int, int, int], views: int, random_state: int | None
) -> NDArray[np.float32]:
    import torch

    from fastclust.learning.seeds import generator_of
    from fastclust.learning.views import ImageViews

    source = ImageViews(torch.from_numpy(values), shape)
    generator = generator_of(random_state)
    drawn = np.empty((len(values), views, values.shape[1]), np.float32)
    for start in range(0, len(values), _BLOCK):
        rows = torch.arange(start, min(start + _BLOCK, len(values)))
        for view in range(views):
            drawn[start : start + len(rows), view] = source.draw(rows, generator).numpy()
    return drawn
