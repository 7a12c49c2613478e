"""A run whose learning something else does."""

import numpy as np
import pytest

import fastclust as fc
from fastclust.artifacts import load_array
from fastclust.errors import InputError

PARAMS = {"encoder": "linear", "embedding_dim": 4, "epochs": 1, "steps": ["learn"]}


class Elsewhere:
    """Does here what it is asked, and notes it."""

    def __init__(self, many=2):
        self.about = {"engine": "elsewhere", "n_workers": many}
        self.calls = []

    def fit(self, learner, rows, checkpoint):
        self.calls.append(("fit", checkpoint))
        learner.fit(rows, checkpoint=checkpoint)

    def fine_tune(self, learner, rows, labels, checkpoint):
        self.calls.append(("fine_tune", checkpoint))
        learner.fine_tune(rows, labels, checkpoint=checkpoint)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)


def test_what_trains_elsewhere_is_asked_once_and_again_only_for_another_training(rows, tmp_path):
    there = Elsewhere()
    done = fc.run(rows, tmp_path / "there", trainer=there, **PARAMS)
    assert [name for name, _ in there.calls] == ["fit"]
    assert done.steps[-1]["notes"]["engine"] == "elsewhere"
    fc.run(rows, tmp_path / "here", **PARAMS)
    assert np.array_equal(load_array(tmp_path / "there/embedding.npy"), load_array(tmp_path / "here/embedding.npy"))
    # What it kept is not left behind.
    assert not (tmp_path / "there/training.state").exists()
    fc.run(rows, tmp_path / "there", trainer=there, **PARAMS)
    assert len(there.calls) == 1
    fc.run(rows, tmp_path / "there", trainer=there, train_labels=np.arange(80) % 2, **PARAMS)
    assert [name for name, _ in there.calls] == ["fit", "fine_tune"]
    other = Elsewhere(3)
    fc.run(rows, tmp_path / "there", trainer=other, **PARAMS)
    assert [name for name, _ in other.calls] == ["fit"]
    assert len({checkpoint for _, checkpoint in there.calls + other.calls}) == 3


@pytest.mark.parametrize("stopped", ["fit", "fine_tune"])
def test_a_training_that_was_stopped_is_gone_on_with_in_its_own_folder(rows, tmp_path, monkeypatch, stopped):
    there, wanted = Elsewhere(), PARAMS | {"train_labels": np.arange(80) % 2}
    # Learned, and stopped before that was saved: by its save, or by what comes between.
    with monkeypatch.context() as patched:
        patched.setattr(fc.SelfTaughtLearner, "save" if stopped == "fit" else "transform", _stop)
        with pytest.raises(KeyboardInterrupt):
            fc.run(rows, tmp_path / "run", trainer=there, **wanted)
    name, folder = there.calls[-1]
    assert name == stopped
    assert any(folder.iterdir())
    fc.run(rows, tmp_path / "run", trainer=there, **wanted)
    assert there.calls.count((stopped, folder)) == 2
    assert not (tmp_path / "run/training.state").exists()


def test_a_trainer_for_nothing_is_refused(rows, tmp_path):
    with pytest.raises(InputError, match="learn nothing"):
        fc.run(rows, tmp_path / "run", trainer=Elsewhere(), steps=["clusters"])
    assert not (tmp_path / "run").exists()


def _stop(*_, **__):
    raise KeyboardInterrupt
