"""Files of ann-benchmarks and big-ann-benchmarks, in and out."""

import os

import numpy as np
import pytest

import fastclust as fc
from bench import vectors
from bench.__main__ import main
from bench.vectors import Vectors


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """A run tells libraries yet to be loaded how many threads to take: not so in the tests that follow."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def made(dtype="float32", metric="euclidean"):
    rng = np.random.default_rng(4)
    train, test = (rng.integers(0, 100, (n, 12)).astype(dtype) for n in (300, 25))
    one, other = (rows.astype(np.float64) for rows in (train, test))
    if metric == "cosine":
        one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other))
        distances = 1 - other @ one.T
    else:
        distances = np.linalg.norm(other[:, None] - one, axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :20]
    return Vectors(
        train, test, order.astype(np.int32), np.take_along_axis(distances, order, 1).astype(np.float32), metric
    )


def same(one, other):
    for name in ("train", "test", "neighbors"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    np.testing.assert_allclose(one.distances, other.distances, rtol=1e-6)
    assert one.metric == other.metric


@pytest.mark.parametrize(
    ("name", "dtype", "metric"),
    [
        ("x.hdf5", "float32", "euclidean"),
        ("x.hdf5", "float32", "cosine"),
        ("x", "float32", "euclidean"),
        ("x", "uint8", "euclidean"),
        ("x", "int8", "euclidean"),
    ],
)
def test_what_is_written_is_read_again(tmp_path, name, dtype, metric):
    data = made(dtype, metric)
    vectors.write(data, tmp_path / name)
    same(vectors.read(tmp_path / name), data)


def test_what_is_written_is_what_others_read(tmp_path):
    """The library's own readers of these formats, which know nothing of these here."""
    data = made("uint8")
    vectors.write(data, tmp_path / "x")
    vectors.write(data, tmp_path / "x.hdf5")
    assert np.array_equal(fc.open_rows(tmp_path / "x" / "base.u8bin").read(), data.train)
    assert np.array_equal(fc.open_rows(tmp_path / "x.hdf5", dataset="test").read(), data.test)


def test_a_conversion_there_and_back(tmp_path):
    vectors.write(made(), tmp_path / "x.hdf5")
    assert main(["convert", str(tmp_path / "x.hdf5"), str(tmp_path / "bins")]) == 0
    assert main(["convert", str(tmp_path / "bins"), str(tmp_path / "y.hdf5")]) == 0
    same(vectors.read(tmp_path / "y.hdf5"), vectors.read(tmp_path / "x.hdf5"))


@pytest.mark.parametrize(("metric", "least"), [("euclidean", 1.0), ("cosine", 1.0)])
def test_a_users_file_is_searched_and_judged(tmp_path, capsys, metric, least):
    vectors.write(made(metric=metric), tmp_path / "mine.hdf5")
    assert main(["run", "neighbors", "--data", str(tmp_path / "mine.hdf5"), "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert f"search mine 300x12, 25 queries, k=10, {metric}" in printed
    assert f"faiss-flat | recall@10 {least:.4f}" in printed


def test_a_users_rows_are_clustered(tmp_path, capsys):
    vectors.write(made(), tmp_path / "mine")
    arguments = ["run", "kmeans-cpu", "--data", str(tmp_path / "mine"), "--clusters", "5", "--rounds", "1"]
    assert main([*arguments, "--only", "convergence"]) == 0
    assert "mine 300x12 k=5" in capsys.readouterr().out


def test_a_wrong_truth_gets_no_speed(tmp_path, capsys):
    data = made()
    wrong = Vectors(data.train, data.test, data.neighbors, data.distances * 0.1)
    vectors.write(wrong, tmp_path / "mine.hdf5")
    assert main(["run", "neighbors", "--data", str(tmp_path / "mine.hdf5"), "--rounds", "1"]) == 1
    assert "**WRONG**: recall@10 0.0000" in capsys.readouterr().out


def broken(folder):
    data = made()
    vectors.write(data, folder / "x")
    return folder / "x"


def test_files_that_are_not_what_they_say_are_refused_by_name(tmp_path, capsys):
    folder = broken(tmp_path)
    (folder / "base.fbin").write_bytes((folder / "base.fbin").read_bytes()[:-4])
    assert main(["run", "neighbors", "--data", str(folder)]) == 2
    assert "base.fbin: " in capsys.readouterr().err
    (folder / "truth.ibin").unlink()
    with pytest.raises(ValueError, match=r"base\.fbin"):
        vectors.read(folder)
    with pytest.raises(ValueError, match="only euclidean"):
        vectors.write(made(metric="cosine"), tmp_path / "cosine")
    with pytest.raises(ValueError, match="expected a file"):
        vectors.read(tmp_path / "nothing.txt")
    vectors.write(Vectors(made().train, made().test, made().neighbors + 290, made().distances), tmp_path / "y.hdf5")
    with pytest.raises(ValueError, match="neighbours"):
        vectors.read(tmp_path / "y.hdf5")


def test_a_case_that_takes_no_files_says_which_do(capsys):
    assert main(["run", "tsne", "--data", "x.hdf5"]) == 2
    assert "neighbors, kmeans-cpu" in capsys.readouterr().err
