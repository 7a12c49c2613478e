"""Data of the benchmarks: real where there is some, and made to a stated recipe otherwise. Cached within a process."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "clustered",
    "fashion_mnist",
    "fashion_mnist_labels",
    "fashion_mnist_pca",
    "fashion_mnist_tiled",
    "iid",
    "precision_with_condition",
]


@functools.cache
def _fashion() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from fastclust.data import open_images

    images = open_images("fashion-mnist")
    return images.read().reshape(len(images), -1).astype(np.float32) / 255, images.labels


def fashion_mnist(rows: int) -> NDArray[np.float32]:
    """First ``rows`` of the 70,000 images, [rows, 784] in [0, 1]."""
    return _fashion()[0][:rows]


def fashion_mnist_labels(rows: int) -> NDArray[np.int64]:
    """Labels of the same rows."""
    return _fashion()[1][:rows]


@functools.cache
def fashion_mnist_pca(rows: int, d: int) -> NDArray[np.float32]:
    """The same rows on their first ``d`` principal components."""
    from sklearn.decomposition import PCA

    reduced: NDArray[np.float32] = PCA(d, random_state=0).fit_transform(fashion_mnist(rows))
    return np.ascontiguousarray(reduced, np.float32)


@functools.cache
def fashion_mnist_tiled(n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return ``n`` rows of 50 components, and labels: the 70,000 over and over, each with noise of its own."""
    real = fashion_mnist_pca(70_000, 50)
    noise = np.random.default_rng(0).normal(scale=0.1 * real.std(), size=(n, 50)).astype(np.float32)
    place = np.arange(n) % len(real)
    return real[place] + noise, fashion_mnist_labels(70_000)[place]


@functools.cache
def clustered(n: int, d: int, components: int, seed: int = 0, spread: float = 2) -> NDArray[np.float32]:
    """Draw a mixture of ``components`` unit Gaussians whose means are N(0, spread^2): far apart for 2."""
    rng = np.random.default_rng(seed)
    means = np.float32(spread) * rng.standard_normal((components, d), np.float32)
    return means[rng.integers(components, size=n)] + rng.standard_normal((n, d), np.float32)


@functools.cache
def iid(n: int, d: int, dtype: str = "float32", seed: int = 0) -> NDArray[np.floating]:
    """Standard normal numbers without structure."""
    return np.random.default_rng(seed).standard_normal((n, d), np.dtype(dtype).type)


@functools.cache
def precision_with_condition(d: int, condition: float, seed: int = 0) -> NDArray[np.float64]:
    """Return a symmetric positive definite [d, d] matrix of this condition number, with random eigenvectors."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    matrix = (basis * np.geomspace(1, 1 / condition, d)) @ basis.T
    return (matrix + matrix.T) / 2
