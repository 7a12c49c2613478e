import numpy as np
import pytest

from fastclust import artifacts
from fastclust.errors import DataError, NotFoundError


def test_a_model_comes_back_with_its_parameters(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {"centers": np.arange(6, dtype=np.float32).reshape(2, 3), "labels": np.array([1, 0], np.int32)}
    artifacts.save_model(path, "kmeans", {"n_iter": np.int64(3), "tol": np.float32(0.5), "best": np.nan}, tensors)
    params, loaded = artifacts.load_model(path, "kmeans")
    assert params == {"n_iter": 3, "tol": 0.5, "best": None}
    assert {name: (value.dtype, value.tolist()) for name, value in loaded.items()} == {
        name: (value.dtype, value.tolist()) for name, value in tensors.items()
    }


def test_a_model_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    artifacts.save_model(path, "kmeans", {}, {"x": np.zeros(1)})
    with pytest.raises(DataError, match="holds kmeans; needed: learner"):
        artifacts.load_model(path, "learner")


@pytest.mark.parametrize("keep", [0, 4, 60])
def test_a_truncated_model_is_refused(tmp_path, keep):
    path = tmp_path / "model.safetensors"
    artifacts.save_model(path, "kmeans", {}, {"x": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="not a readable safetensors"):
        artifacts.load_model(path, "kmeans")


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    monkeypatch.setattr(artifacts, "FORMAT_VERSION", 99)
    artifacts.save_model(path, "kmeans", {}, {"x": np.zeros(1)})
    monkeypatch.undo()
    with pytest.raises(DataError, match="newer"):
        artifacts.load_model(path, "kmeans")


def test_objects_are_never_loaded(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError):
        artifacts.load_array(path)


@pytest.mark.parametrize("load", [artifacts.load_array, artifacts.load_json])
def test_a_missing_file_says_so(tmp_path, load):
    with pytest.raises(NotFoundError, match="nothing-here"):
        load(tmp_path / "nothing-here")


def test_json_has_no_nan(tmp_path):
    artifacts.save_json(tmp_path / "x.json", {"a": float("nan"), "b": np.array([1, 2]), "c": (np.float32(1.5),)})
    assert artifacts.load_json(tmp_path / "x.json") == {"a": None, "b": [1, 2], "c": [1.5]}


@pytest.mark.parametrize("text", ["", "[1]", "{", "\x00"])
def test_what_is_no_json_object_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError):
        artifacts.load_json(tmp_path / "x.json")


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "x.npy"
    artifacts.save_array(path, np.arange(3))

    def interrupted():
        with artifacts.replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert artifacts.load_array(path).tolist() == [0, 1, 2]
    assert [item.name for item in tmp_path.iterdir()] == ["x.npy"]
