"""Real data sets that are at hand: scikit-learn's digits, and Debian's Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastclust.data.arrays import ArrayImages, read_idx
from fastclust.errors import MissingPackageError

__all__ = ["FASHION_FOLDER", "NAMES", "open_builtin"]

NAMES = ("digits", "fashion-mnist")
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_FASHION_NAMES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip


def open_builtin(name: str) -> ArrayImages:
    """Open "digits" (1,797 scans of 8x8 pixels) or "fashion-mnist" (70,000 of 28x28: the training rows first)."""
    return _digits() if name == "digits" else _fashion()


def _digits() -> ArrayImages:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # 17 grey levels; 255 is the darkest ink.
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return ArrayImages(pixels, labels=bunch.target.astype(np.int64), label_names=[str(name) for name in range(10)])


def _fashion() -> ArrayImages:
    if not FASHION_FOLDER.is_dir():
        raise MissingPackageError(
            f"fashion-mnist is not installed: {FASHION_FOLDER} is missing. "
            "Debian has it: apt-get install dataset-fashion-mnist"
        )
    parts = [
        (
            read_idx(FASHION_FOLDER / f"{part}-images-idx3-ubyte.gz"),
            read_idx(FASHION_FOLDER / f"{part}-labels-idx1-ubyte.gz"),
        )
        for part in ("train", "t10k")
    ]
    pixels = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts]).astype(np.int64)
    return ArrayImages(pixels, labels=labels, label_names=list(_FASHION_NAMES))
