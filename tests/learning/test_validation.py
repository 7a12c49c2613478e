"""Rows held out of training, and which epoch is kept."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from fastclust.errors import InputError, OperationCancelledError
from fastclust.learning import SelfTaughtLearner
from fastclust.learning.networks import Heads, Student
from fastclust.learning.validation import Validation, held_out
from fastclust.progress import listening

QUICK = {"encoder": "linear", "embedding_dim": 8, "teacher_dim": 16, "batch_size": 40, "random_state": 0}


@pytest.fixture(scope="module")
def rows():
    return load_digits().data[:200].astype(np.float32)


@pytest.fixture
def student():
    heads = Heads(5, hidden=4, embedding_dim=3, teacher_dim=4, encoder="linear", seed=0)
    return Student(torch.nn.Identity(), heads)


@pytest.fixture
def scripted(monkeypatch):
    """Scores as given, one an epoch; returns the student's weights when each was asked for."""
    seen = []

    def script(*scores):
        seen.clear()

        def score(_, student):
            seen.append(student.heads.f.weight.detach().clone())
            return scores[len(seen) - 1]

        monkeypatch.setattr(Validation, "score", score)
        return seen

    return script


def unit(found):
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_scores_are_shares_of_nearest_rows_that_are_right(student):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 5)).astype(np.float32)
    views = rows + 0.8 * rng.normal(size=rows.shape).astype(np.float32)
    labels = rng.integers(-1, 3, 30)
    weight = student.heads.f.weight.detach().numpy()
    e, v = unit(rows @ weight.T), unit(views @ weight.T)
    again = np.mean([np.argmax([v[i] @ e[j] for j in range(30)]) == i for i in range(30)])
    assert 0 < again < 1
    tensors = torch.from_numpy(rows), torch.from_numpy(views)
    assert Validation(*tensors).score(student) == pytest.approx(again)
    known = np.flatnonzero(labels >= 0)
    right = [labels[max((j for j in known if j != i), key=lambda j, i=i: e[i] @ e[j])] == labels[i] for i in known]
    assert Validation(*tensors, labels).score(student) == pytest.approx(np.mean(right))


def test_the_best_epoch_is_kept_and_the_first_of_equals(rows, scripted):
    seen = scripted(0.2, 0.9, 0.9, 0.1)
    learner = SelfTaughtLearner(**QUICK, epochs=4, validation=0.2).fit(rows)
    assert learner.validation_curve_ == [0.2, 0.9, 0.9, 0.1]
    assert torch.equal(learner._net.student.heads.f.weight, seen[1])
    assert not torch.equal(seen[1], seen[3])


def test_rows_held_out_are_not_trained_on(rows):
    options = QUICK | {"epochs": 1, "validation": 0.25}
    other = rows.copy()
    chosen = held_out(len(rows), 0.25, 0)
    assert chosen.sum() == 50
    other[chosen] = other[chosen][0]  # equal rows: each view finds its own
    first, second = (SelfTaughtLearner(**options).fit(X) for X in (rows, other))
    assert first.loss_curve_ == second.loss_curve_
    assert first.validation_curve_ != second.validation_curve_
    assert SelfTaughtLearner(**QUICK, epochs=1).fit(rows).validation_curve_ == []


def test_a_run_that_was_stopped_keeps_its_best(rows, scripted, tmp_path, monkeypatch):
    monkeypatch.setattr("fastclust.learning.checkpoint.Checkpoint.due", lambda _, step: step % 3 == 0)
    learner = SelfTaughtLearner(**QUICK, epochs=3, validation=0.2)
    seen = scripted(0.9, 0.2, 0.3)
    whole = learner.fit(rows).transform(rows)

    def stop(event):
        if "epoch 3 loss" in event.message:
            raise OperationCancelledError("enough")

    seen = scripted(0.9, 0.2)
    with listening(stop), pytest.raises(OperationCancelledError):
        learner.fit(rows, checkpoint=tmp_path)
    assert len(seen) == 2
    assert (tmp_path / "best.safetensors").read_bytes() != (tmp_path / "checkpoint.safetensors").read_bytes()
    scripted(0.3)
    assert np.array_equal(learner.fit(rows, checkpoint=tmp_path).transform(rows), whole)
    assert learner.validation_curve_ == [0.9, 0.2, 0.3]


def test_labels_judge_fine_tuning_and_the_curve_is_saved(rows, tmp_path):
    learner = SelfTaughtLearner(**QUICK, epochs=1, validation=0.2).fit(rows)
    labels = load_digits().target[:200]
    learner.fine_tune(rows, labels, epochs=2)
    assert len(learner.validation_curve_) == 2
    assert min(learner.validation_curve_) > 0.5
    learner.save(tmp_path / "learner")
    assert SelfTaughtLearner.load(tmp_path / "learner").validation_curve_ == learner.validation_curve_
    few = np.full(200, -1)
    few[np.flatnonzero(~held_out(200, 0.2, 0))[:20]] = labels[:20]
    with pytest.raises(InputError, match="validation"):
        learner.fine_tune(rows, few, epochs=1)


@pytest.mark.parametrize("share", [-0.1, 1.0, 0.999])
def test_shares_that_leave_nothing_are_named(rows, share):
    with pytest.raises(InputError) as caught:
        SelfTaughtLearner(**QUICK, epochs=1, validation=share).fit(rows)
    assert caught.value.field == "validation"
