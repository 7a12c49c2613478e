"""The map as a picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fastclust.errors import InputError
from fastclust.report import write_map_png
from fastclust.report.palette import categorical, categorical_hex


def drawn(path, points, labels, **words):
    write_map_png(path, np.asarray(points, float), np.asarray(labels), **words)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_each_cluster_has_its_colour_where_its_points_are(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 3000)
    points = rng.uniform(-1, 1, (9000, 2)) * 0.2 + np.array([[0, 0], [5, 0], [0, 5]])[labels]
    picture = drawn(tmp_path / "map.png", points, labels)
    # x to the right, y upwards: cluster 1 lies right, cluster 2 above.
    left, right = picture[900:1340, 40:400], picture[900:1340, 1000:1360]
    above = picture[100:500, 40:400]
    for part, cluster in ((left, 0), (right, 1), (above, 2)):
        strongest = part[(part.min(axis=2) < 235)]
        assert len(strongest) > 1000
        toward = 255 * categorical(3) - strongest.mean(axis=0)
        assert np.argmin((toward**2).sum(axis=1)) == cluster


def test_crowds_are_stronger_than_single_points(tmp_path):
    rng = np.random.default_rng(0)
    crowd, single = rng.normal(size=(60000, 2)) * 0.01, np.array([[1.0, 0.0], [-1.0, 0.0]])
    picture = drawn(tmp_path / "map.png", np.vstack([crowd, single]), np.zeros(60002, int), title="t")
    # Cluster numbers cover the very middle of the crowd.
    middle = picture[: picture.shape[0] - 80, 640:760].min()
    alone = picture[300 : picture.shape[0] - 80, 1330:1350].min()
    assert middle < alone < 250


@pytest.mark.parametrize("k", [1, 42, 43, 250])
def test_any_number_of_clusters_is_drawn(tmp_path, k):
    rng = np.random.default_rng(0)
    labels = np.r_[np.arange(k), rng.integers(0, k, 500)]
    picture = drawn(tmp_path / "map.png", rng.normal(size=(k + 500, 2)), labels, title="A title" * 60, note="note")
    assert picture.shape[1] == 1400
    assert (picture < 200).any()


def test_one_place_and_no_cluster_are_drawn(tmp_path):
    assert (drawn(tmp_path / "a.png", np.zeros((1, 2)), [0]) < 200).any()
    assert (drawn(tmp_path / "b.png", np.ones((50, 2)), np.full(50, -1)) < 200).any()


def test_titles_in_any_script_do_not_break_it(tmp_path):
    drawn(tmp_path / "map.png", np.zeros((3, 2)), [0, 1, 2], title="写真 \U0001f600 \udc80 \n\t x")


def test_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(InputError, match="points"):
        write_map_png(tmp_path / "map.png", np.zeros((3, 3)), np.zeros(3, int))
    assert not list(tmp_path.iterdir())


def test_colours_are_a_hundred_different_ones_and_then_repeat():
    colors = categorical_hex(203)
    assert len(set(colors[:100])) == 100
    assert colors[100:200] == colors[:100]
    assert categorical(0).shape == (0, 3)


def test_the_first_ten_colours_differ_for_eyes_that_tell_few_hues_apart():
    """Machado et al. (2009), severity 1, distances in OKLab."""
    protan = np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    )
    deutan = np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    )
    to_lms = np.array(
        [[0.41222147, 0.53633254, 0.05144599], [0.2119035, 0.68069955, 0.10739696], [0.08830246, 0.28171884, 0.6299787]]
    )
    to_lab = np.array(
        [
            [0.21045426, 0.79361779, -0.00407205],
            [1.9779985, -2.42859221, 0.45059371],
            [0.0259040, 0.78277177, -0.80867577],
        ]
    )
    colors = categorical(10)
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    for seen in (np.eye(3), protan, deutan):
        lab = np.cbrt(np.clip(linear @ seen.T, 0, 1) @ to_lms.T) @ to_lab.T
        gaps = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(10, 1)]
        assert gaps.min() > 0.06
