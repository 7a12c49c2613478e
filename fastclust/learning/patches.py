"""An encoder for small images: a dictionary of patches, learned by k-means from the images themselves.

Source: Coates, Lee, Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011. The
activation here is relu(s - mean of s over the dictionary) with s = z . c - |c|^2 / 2, the soft assignment of squared
distances: |z|^2 drops out of it, and a patch costs one product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fastclust.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PatchEncoder", "learn_patches"]

#: Images and patches of each that the dictionary is learned from.
_IMAGES, _EACH = 3000, 20
#: Added to a patch's variance, as a share of the mean variance; and to the variances that whitening divides by.
_CONTRAST, _WHITENING = 0.15, 0.1
#: Added under the root, whose slope at 0 is infinite.
_ROOT = 1e-6


class PatchEncoder(nn.Module):
    """Patches at every pixel against a dictionary, pooled over a grid, then the square root: ``[b, grid^2 * K]``.

    Parameters
    ----------
    shape
        (height, width, channels) of the images that rows are.
    side
        Pixels a side of a patch.
    n_patches
        K, entries of the dictionary.
    grid
        Cells a side that activations are averaged over.
    contrast
        Added to a patch's variance before its contrast is brought to 1.
    """

    pool: Tensor

    def __init__(
        self, shape: tuple[int, int, int], *, side: int, n_patches: int, grid: int, contrast: float = 1.0
    ) -> None:
        super().__init__()
        height, width, channels = shape
        self.config = {"shape": list(shape), "side": side, "n_patches": n_patches, "grid": grid, "contrast": contrast}
        self._shape, self._side, self._contrast = shape, side, contrast
        self.weight = nn.Parameter(torch.zeros(n_patches, channels * side * side))
        self.bias = nn.Parameter(torch.zeros(n_patches))
        padded = 2 * (side // 2) - side + 1
        pool = np.kron(_cells(height + padded, grid), _cells(width + padded, grid))
        self.register_buffer("pool", torch.from_numpy(pool.astype(np.float32)), persistent=False)

    @property
    def width(self) -> int:
        """Numbers that an image becomes."""
        return int(self.pool.shape[0] * len(self.bias))

    def patches(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return all patches ``[b * positions, channels * side^2]`` of rows and one over their contrast ``[.., 1]``."""
        images = rows.view(-1, *self._shape).permute(0, 3, 1, 2)
        images = nn.functional.pad(images, (self._side // 2,) * 4)
        found = images.unfold(2, self._side, 1).unfold(3, self._side, 1)  # [b, c, y, x, side, side]
        flat = found.permute(0, 2, 3, 1, 4, 5).reshape(-1, self.weight.shape[1])
        return flat, torch.rsqrt(self._variances(images) + self._contrast)

    def _variances(self, images: Tensor) -> Tensor:
        """Return the variance of each patch of padded images, ``[b * positions, 1]``, from means of its squares."""
        both = torch.stack([images.mean(1), images.square().mean(1)], 1)
        mean, square = nn.functional.avg_pool2d(both, self._side, 1).unbind(1)
        return (square - mean.square()).clamp_min(0).reshape(-1, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """Return features of rows ``[b, height * width * channels]``."""
        flat, inverse = self.patches(rows)
        # The patch's mean and the mean activation are linear in the weights: both are taken out of them.
        weight = self.weight - self.weight.mean(1, keepdim=True)
        weight = weight - weight.mean(0)
        active = torch.relu(torch.addmm(self.bias - self.bias.mean(), flat * inverse, weight.T))
        pooled = self.pool @ active.view(len(rows), -1, len(self.bias))
        return (pooled + _ROOT).sqrt().flatten(1)


def learn_patches(
    rows: NDArray[np.float32], shape: tuple[int, int, int], *, n_patches: int, grid: int, seed: int
) -> PatchEncoder:
    """Learn the dictionary from some of the rows ``[n, height * width * channels]``.

    Patches are brought to mean 0 and contrast 1 and whitened (ZCA); k-means finds the entries. There are fewer than
    ``n_patches`` where the images have fewer patches. Raises InputError where all images are flat.
    """
    from fastclust.cluster import KMeans

    rng = np.random.default_rng(seed)
    side = max(2, min(6, min(shape[:2]) // 2))
    some = np.sort(rng.choice(len(rows), min(len(rows), _IMAGES), replace=False))
    probe = PatchEncoder(shape, side=side, n_patches=1, grid=1)
    drawn, variances = [], []
    for start in range(0, len(some), 100):
        flat, _ = probe.patches(torch.from_numpy(np.ascontiguousarray(rows[some[start : start + 100]])))
        count = len(some[start : start + 100])
        places = rng.integers(len(flat) // count, size=(count, _EACH)) + np.arange(count)[:, None] * (
            len(flat) // count
        )
        drawn.append(flat[torch.from_numpy(places.ravel())].numpy())
        variances.append(flat.var(1, correction=0).numpy().mean(dtype=np.float64))
    contrast = _CONTRAST * float(np.mean(variances))
    patches = np.concatenate(drawn).astype(np.float64)
    patches -= patches.mean(1, keepdims=True)
    patches = patches[patches.var(1) > contrast * 1e-3]
    if not len(patches):
        raise InputError("X", "images that are all flat", "images that differ", "There is nothing to learn from them.")
    patches /= np.sqrt(patches.var(1, keepdims=True) + contrast)
    mean = patches.mean(0)
    values, vectors = np.linalg.eigh(np.cov((patches - mean).T, bias=True))
    whitening = (vectors / np.sqrt(np.maximum(values, 0) + _WHITENING)) @ vectors.T
    whitened = (patches - mean) @ whitening
    count = max(1, min(n_patches, len(np.unique(whitened, axis=0)) // 2))
    found = KMeans(count, max_iter=20, random_state=seed).fit(whitened.astype(np.float32)).cluster_centers_
    centers = found.astype(np.float64)
    encoder = PatchEncoder(shape, side=side, n_patches=count, grid=min(grid, *shape[:2]), contrast=contrast)
    weight = centers @ whitening
    with torch.no_grad():
        encoder.weight.copy_(torch.from_numpy(weight))
        encoder.bias.copy_(torch.from_numpy(-(weight @ mean) - 0.5 * (centers**2).sum(1)))
    return encoder


def _cells(positions: int, grid: int) -> NDArray[Any]:
    """Weights ``[grid, positions]`` of means over ``grid`` stretches that cover all positions."""
    out = np.zeros((grid, positions))
    for cell in range(grid):
        first, last = cell * positions // grid, -(-(cell + 1) * positions // grid)
        out[cell, first:last] = 1 / (last - first)
    return out
