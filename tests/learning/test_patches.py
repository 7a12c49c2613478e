"""The dictionary of patches, against loops in float64."""

import numpy as np
import pytest
import torch

from fastclust.errors import InputError
from fastclust.learning.networks import fit_projection, through
from fastclust.learning.patches import PatchEncoder, learn_patches


def images(n, shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(n, int(np.prod(shape)))).astype(np.float32)


def loop_features(row, shape, side, grid, weight, bias, contrast):
    """Scores of each patch by whitened centres, soft assignment, means over cells, root."""
    height, width, channels = shape
    padded = np.zeros((height + 2 * (side // 2), width + 2 * (side // 2), channels))
    padded[side // 2 : side // 2 + height, side // 2 : side // 2 + width] = row.reshape(shape)
    rows, columns = padded.shape[0] - side + 1, padded.shape[1] - side + 1
    active = np.zeros((rows, columns, len(weight)))
    for y in range(rows):
        for x in range(columns):
            patch = padded[y : y + side, x : x + side].transpose(2, 0, 1).ravel()
            patch = (patch - patch.mean()) / np.sqrt(patch.var() + contrast)
            scores = weight @ patch + bias
            active[y, x] = np.maximum(scores - scores.mean(), 0)
    out = []
    for i in range(grid):
        for j in range(grid):
            cell = active[
                i * rows // grid : -(-(i + 1) * rows // grid), j * columns // grid : -(-(j + 1) * columns // grid)
            ]
            out.append(np.sqrt(cell.mean((0, 1)) + 1e-6))
    return np.concatenate(out)


@pytest.mark.parametrize(("shape", "side", "grid"), [((9, 9, 1), 4, 3), ((8, 11, 3), 5, 2), ((7, 6, 2), 2, 4)])
def test_features_are_the_formula(shape, side, grid):
    encoder = PatchEncoder(shape, side=side, n_patches=7, grid=grid, contrast=0.02).double()
    with torch.no_grad():
        encoder.weight.normal_(generator=torch.Generator().manual_seed(0))
        encoder.bias.normal_(generator=torch.Generator().manual_seed(1))
    X = images(3, shape).astype(np.float64)
    found = encoder(torch.from_numpy(X)).detach().numpy()
    weight, bias = encoder.weight.detach().numpy(), encoder.bias.detach().numpy()
    expected = [loop_features(row, shape, side, grid, weight, bias, 0.02) for row in X]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.shape == (3, encoder.width)


def test_scores_are_those_of_whitened_centres():
    """relu(mean d^2 / 2 - d^2 / 2) on whitened patches, d the distance to a centre: |z|^2 drops out."""
    X = images(60, (12, 12, 1))
    encoder = learn_patches(X, (12, 12, 1), n_patches=10, grid=2, seed=0)
    assert encoder.weight.shape == (10, 36)
    again = learn_patches(X, (12, 12, 1), n_patches=10, grid=2, seed=0)
    assert torch.equal(encoder.weight, again.weight)
    assert not torch.equal(encoder.weight, learn_patches(X, (12, 12, 1), n_patches=10, grid=2, seed=1).weight)


def test_brightness_and_contrast_of_an_image_matter_little():
    X = images(40, (10, 10, 1)) * 0.5
    encoder = learn_patches(X, (10, 10, 1), n_patches=12, grid=1, seed=0).requires_grad_(requires_grad=False)
    plain, brighter = (encoder(torch.from_numpy(rows.astype(np.float32))) for rows in (X[:5], X[:5] * 1.6))
    assert (plain - brighter).norm() < 0.1 * plain.norm()


def test_flat_images_are_refused():
    with pytest.raises(InputError, match="flat"):
        learn_patches(np.zeros((5, 64), np.float32), (8, 8, 1), n_patches=4, grid=2, seed=0)


def test_slopes_agree_with_finite_differences():
    encoder = PatchEncoder((5, 5, 1), side=2, n_patches=3, grid=1, contrast=0.1).double()
    with torch.no_grad():
        encoder.weight.normal_(generator=torch.Generator().manual_seed(0))
    rows = torch.from_numpy(images(2, (5, 5, 1)).astype(np.float64)).requires_grad_()
    assert torch.autograd.gradcheck(encoder, (rows,), atol=1e-4)


def test_a_front_gives_the_same_bits_however_rows_are_cut():
    encoder = PatchEncoder((8, 8, 1), side=4, n_patches=5, grid=2)
    rows = torch.from_numpy(images(20, (8, 8, 1)))
    assert torch.equal(through(encoder, rows), through(encoder, rows, "again"))
    assert not through(encoder, rows).requires_grad


def test_leading_components_of_wide_rows_are_those_of_a_full_decomposition():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(1500, 30)) * np.linspace(4, 1, 30)) @ rng.normal(size=(30, 1100))
    X += 0.01 * rng.normal(size=X.shape)
    mean, components = fit_projection(X.astype(np.float32), 12, seed=0)
    centred = X.astype(np.float32).astype(np.float64) - X.astype(np.float32).mean(0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    scale = np.linalg.norm(components, axis=0)
    np.testing.assert_allclose(np.abs((axes[:12] * (components / scale).T).sum(1)), 1, atol=1e-3)
    whitened = (X - mean) @ fit_projection(X.astype(np.float32), 12, seed=0, whitening=1.0)[1]
    np.testing.assert_allclose(whitened.var(0), whitened.var(0).mean(), rtol=1e-2)
