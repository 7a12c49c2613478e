"""Sprite sheets: every image where the contract says, in blocks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from fastclust.data import open_images
from fastclust.errors import InputError
from fastclust.report import make_sprites


def cut(folder, row):
    about = json.loads((folder / "thumbnails.json").read_text())
    sheet = np.asarray(Image.open(folder / about["files"][row // about["per_sheet"]]))
    inside, size = row % about["per_sheet"], about["size"]
    top, left = inside // about["columns"] * size, inside % about["columns"] * size
    return sheet[top : top + size, left : left + size]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_found_at_its_place(tmp_path, channels):
    rng = np.random.default_rng(0)
    # One even colour an image, which JPEG keeps.
    tones = rng.integers(0, 256, (300, 1, 1, channels)).astype(np.uint8)
    names = make_sprites(open_images(np.broadcast_to(tones, (300, 16, 16, channels)).copy()), tmp_path, size=16)
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    for row in range(300):
        found = cut(tmp_path, row).reshape(256, -1).mean(axis=0)
        assert np.abs(found - tones[row].ravel()).max() < 20, row  # JPEG halves the resolution of colour


def test_many_images_go_into_several_sheets_that_a_browser_can_unpack(tmp_path):
    tones = (np.arange(300) % 250).astype(np.uint8)
    images = np.broadcast_to(tones[:, None, None], (300, 8, 8)).copy()
    names = make_sprites(open_images(images), tmp_path, size=256)
    about = json.loads((tmp_path / "thumbnails.json").read_text())
    assert len(names) - 1 == len(about["files"]) == -(-300 // about["per_sheet"]) > 1
    for name in about["files"]:
        assert max(Image.open(tmp_path / name).size) <= 16384
    for row in (0, about["per_sheet"] - 1, about["per_sheet"], 299):
        assert abs(cut(tmp_path, row).mean() - tones[row]) < 6, row


def test_the_same_images_give_the_same_bytes(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 12, 12), np.uint8)
    for name in ("a", "b"):
        make_sprites(open_images(images), tmp_path / name)
    assert (tmp_path / "a/thumbnails-0.jpg").read_bytes() == (tmp_path / "b/thumbnails-0.jpg").read_bytes()


@pytest.mark.parametrize("size", [0, 7, 5000])
def test_a_size_out_of_range_is_refused(tmp_path, size):
    with pytest.raises(InputError, match="size"):
        make_sprites(open_images(np.zeros((2, 8, 8), np.uint8)), tmp_path, size=size)
