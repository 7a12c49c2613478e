"""Parquet files whose rows are images, by every way into the house: the same as a folder of them."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import fastclust as fc
from fastclust.cli.main import app
from fastclust.cli.remote import send
from fastclust.client.payloads import payload_of
from fastclust.data import read_labels
from fastclust.errors import DataError, InputError
from fastclust.pipeline.source import open_source

N = 40


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(0)
    level = np.where(np.arange(N) % 2, 40, 200)
    return (level[:, None, None] + rng.integers(-20, 20, (N, 8, 8))).astype(np.uint8)


def unit(pixels):
    rows = pixels.reshape(N, -1).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def parquet(pixels, tmp_path_factory):
    path = tmp_path_factory.mktemp("parquet") / "images.parquet"
    labels = [None if row == 3 else ("dark" if row % 2 else "light") for row in range(N)]
    rows = [{"bytes": png(one), "path": None} for one in pixels]
    pq.write_table(pa.table({"image": rows, "label": labels}), path, row_group_size=16)
    return path


def call(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_run_takes_images_and_labels(parquet, pixels, tmp_path):
    call("run", parquet, "-o", tmp_path, "--steps", "features")
    found = np.load(tmp_path / "features.npy")
    np.testing.assert_allclose(found, unit(pixels), atol=1e-6)
    opened = open_source(parquet)
    assert (opened.kind, opened.label_names) == ("images", ["dark", "light"])
    assert opened.labels.tolist() == [-1 if row == 3 else 1 - row % 2 for row in range(N)]


def test_rows_in_parquet_stay_rows(parquet, pixels, tmp_path):
    plain = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": np.arange(6.0), "b": np.ones(6)}), plain)
    assert open_source(plain).kind == "vectors"
    pq.write_table(pa.table({"image": ["a.png"], "x": [1.0]}), plain)
    with pytest.raises(InputError, match="image"):
        open_source(plain)
    both = tmp_path / "both.parquet"
    vectors = np.stack([np.arange(N), -np.arange(N)], axis=1).astype(np.float32)
    pq.write_table(pq.read_table(parquet).append_column("v", pa.array(vectors.tolist())), both)
    call("neighbors", both, "-o", tmp_path / "a", "-k", 3, "--columns", "v")
    found = pq.read_table(tmp_path / "a/neighbors")["indices"].to_pylist()
    assert np.array_equal(found, fc.knn_graph(vectors, 3).indices)
    call("neighbors", both, "-o", tmp_path / "b", "-k", 3)
    graph = fc.knn_graph(unit(pixels), 3)
    np.testing.assert_allclose(np.load(tmp_path / "b/distances.npy"), graph.distances, rtol=1e-4)


def test_a_model_embeds_images(parquet, pixels, tmp_path, monkeypatch):
    class Model:
        def transform(self, rows):
            return 2 * rows

    monkeypatch.setattr("fastclust.learning.SelfTaughtLearner.load", lambda _, **__: Model())
    call("embed", parquet, "-o", tmp_path, "--model", "any")
    np.testing.assert_allclose(np.load(tmp_path / "embedding.npy"), 2 * unit(pixels), atol=1e-6)


@pytest.mark.full
def test_a_model_is_trained_on_images_and_embeds_them(parquet, tmp_path):
    call("train", parquet, "-o", tmp_path, "--epochs", 1, "--embedding-dim", 8)
    call("embed", parquet, "-o", tmp_path / "out", "--model", tmp_path / "learner.safetensors")
    found = np.load(tmp_path / "out/embedding.npy")
    assert found.shape == (N, 8)
    np.testing.assert_allclose(found, np.load(tmp_path / "embedding.npy"), atol=1e-4)


def test_a_server_gets_images_and_labels(parquet, pixels):
    class Recording:
        def upload(self, source, name):
            images = fc.open_images(source)
            assert images.ids == [f"{row}.png" for row in range(N)]
            assert np.array_equal(images.read()[..., 0], pixels)
            return name

        def upload_labels(self, labels, name):
            found = read_labels(labels, [f"{row}.png" for row in range(N)])
            assert found.names == ["dark", "light"]
            return found.labels.tolist()

    sent = send(Recording(), str(parquet))
    assert sent == ("images", [-1 if row == 3 else 1 - row % 2 for row in range(N)])


def test_what_a_client_does_not_read_says_what_to_do(parquet):
    with pytest.raises(DataError, match="write_image_tar"):
        payload_of(parquet, None)
