"""Training that is stopped, shared between processes, or of the second objective."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from fastclust.errors import InputError, MissingPackageError, OperationCancelledError, PreconditionError
from fastclust.learning import SelfTaughtLearner
from fastclust.progress import listening

SMALL = {"embedding_dim": 8, "teacher_dim": 16, "batch_size": 40, "random_state": 0}

TRAIN = """
import sys, numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from fastclust import progress
from fastclust.learning import SelfTaughtLearner
import time
X = load_digits().images[:160].astype(np.uint8)
learner = SelfTaughtLearner(epochs=3, embedding_dim=8, teacher_dim=16, batch_size=40, random_state=0)
def slow(event):
    if event.step == "learn" and "loss" in event.message:
        print(event.fraction, flush=True)
        time.sleep(0.02)
with progress.listening(slow):
    learner.fit(X, checkpoint=sys.argv[1])
np.save(sys.argv[2], learner.transform(X))
"""

SHARED = """
import sys, numpy as np, torch
from torch import distributed
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from fastclust.errors import PreconditionError
from fastclust.learning import SelfTaughtLearner
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}.met", rank=int(sys.argv[2]), world_size=2)
X = load_digits().data[:200]
learner = SelfTaughtLearner("linear", epochs=1, embedding_dim=8, teacher_dim=16, batch_size=20, random_state=0)
own = sys.argv[1] + sys.argv[2]  # a folder that the other does not see; the first process writes
learner.fit(X, checkpoint=own)
np.save(sys.argv[1] + str(distributed.get_rank()) + ".npy", learner.transform(X))
try:
    learner.fit(X, checkpoint=own)
except PreconditionError as error:
    assert "process 1: epoch 1, step 0" in str(error)
else:
    sys.exit("they went on from different states")
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def digits():
    return load_digits().images[:300].astype(np.uint8), load_digits().target[:300]


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path, digits):
    folder, out = tmp_path / "checkpoint", tmp_path / "out.npy"
    command = [sys.executable, "-c", TRAIN, str(folder), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 240
        for line in process.stdout:
            if float(line) > 0.5:
                break
            assert time.monotonic() < deadline
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (folder / "checkpoint.safetensors").exists()
    assert not out.exists()
    some = digits[0][:160]
    resumed = SelfTaughtLearner(epochs=3, **SMALL).fit(some, checkpoint=folder).transform(some)
    assert np.array_equal(resumed, SelfTaughtLearner(epochs=3, **SMALL).fit(some).transform(some))


def test_a_checkpoint_within_an_epoch_serves_too_and_knows_its_run(tmp_path, digits, monkeypatch):
    monkeypatch.setattr("fastclust.learning.checkpoint.Checkpoint.due", lambda _, step: step % 3 == 0)
    options = SMALL | {"encoder": "mlp", "epochs": 2}
    rows = digits[0].reshape(300, -1)

    def stop(event):
        if "loss" in event.message and event.fraction > 0.7:
            raise OperationCancelledError("enough")

    with listening(stop), pytest.raises(OperationCancelledError):
        SelfTaughtLearner(**options).fit(rows, checkpoint=tmp_path)
    seen = []
    with listening(lambda event: seen.append(event.fraction if "loss" in event.message else 0)):
        learner = SelfTaughtLearner(**options).fit(rows, checkpoint=tmp_path)
    assert min(share for share in seen if share > 0) > 0.5
    fresh = SelfTaughtLearner(**options).fit(rows)
    assert np.array_equal(learner.transform(rows), fresh.transform(rows))
    assert learner.loss_curve_ == fresh.loss_curve_
    with pytest.raises(PreconditionError, match="sigma"):
        SelfTaughtLearner(**options, sigma=2.0).fit(rows, checkpoint=tmp_path)
    with pytest.raises(PreconditionError, match="rows"):
        SelfTaughtLearner(**options).fit(rows + 1, checkpoint=tmp_path)
    with pytest.raises(InputError, match="random_state"):
        SelfTaughtLearner(**options | {"random_state": None}).fit(rows, checkpoint=tmp_path)


@pytest.mark.parametrize("share", [0.4, 0.9])
@pytest.mark.parametrize("encoder", ["linear", "resnet"])
def test_a_mined_run_stopped_within_an_epoch_goes_on_to_the_same_bits(tmp_path, digits, monkeypatch, encoder, share):
    monkeypatch.setattr("fastclust.learning.checkpoint.Checkpoint.due", lambda _, step: step % 3 == 0)
    # A rate at which the nearest negatives change within an epoch.
    options = SMALL | {"encoder": encoder, "objective": "manifold_triplet", "epochs": 2, "learning_rate": 0.05}
    rows = digits[0] if encoder == "resnet" else digits[0].reshape(300, -1)

    def stop(event):
        if "loss" in event.message and event.fraction > share:
            raise OperationCancelledError("enough")

    with listening(stop), pytest.raises(OperationCancelledError):
        SelfTaughtLearner(**options).fit(rows, checkpoint=tmp_path)
    resumed = SelfTaughtLearner(**options).fit(rows, checkpoint=tmp_path)
    fresh = SelfTaughtLearner(**options).fit(rows)
    assert resumed.loss_curve_ == fresh.loss_curve_
    assert np.array_equal(resumed.transform(rows), fresh.transform(rows))


def test_rows_of_a_mined_run_are_searched_once_and_embedded_from_the_second_epoch_on(digits, monkeypatch):
    from fastclust import neighbors
    from fastclust.learning.trainer import Trainer

    seen = []
    graph, embedded = neighbors.knn_graph, Trainer._embedded

    def searched(X, **options):
        seen.append("graph")
        return graph(X, **options)

    def embeds(self, module, head, rows):
        seen.append(len(rows))
        return embedded(self, module, head, rows)

    monkeypatch.setattr(neighbors, "knn_graph", searched)
    monkeypatch.setattr(Trainer, "_embedded", embeds)
    rows = digits[0].reshape(300, -1)
    SelfTaughtLearner("linear", objective="manifold_triplet", epochs=3, **SMALL).fit(rows)
    assert seen[0] == "graph"
    assert len(seen) == 3
    assert 0 < seen[1] == seen[2] <= 300


def test_two_processes_learn_what_one_does_that_takes_two_batches_a_step(tmp_path):
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    # As torchrun would start them, without its own process: of one thread each.
    started = [
        subprocess.Popen(
            [sys.executable, script, tmp_path / "r", str(rank)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    assert [process.wait(240) for process in started] == [0, 0]
    first, second = np.load(tmp_path / "r0.npy"), np.load(tmp_path / "r1.npy")
    assert np.array_equal(first, second)
    X = load_digits().data[:200]
    options = SMALL | {"batch_size": 20, "encoder": "linear", "epochs": 1}
    one = SelfTaughtLearner(**options, accumulate=2).fit(X).transform(X)
    np.testing.assert_allclose(first, one, atol=2e-5)
    assert np.abs(first - SelfTaughtLearner(**options).fit(X).transform(X)).max() > 1e-3


@pytest.mark.parametrize("objective", ["manifold_triplet", "manifold_contrastive"])
def test_mined_pairs_do_not_spoil_what_they_were_mined_from(digits, objective):
    from fastclust.evaluation import mean_average_precision_at_r, recall_at_k

    rows, labels = load_digits().data[:800], load_digits().target[:800]
    options = {"objective": objective, "epochs": 6, "batch_size": 60, "random_state": 0}
    learner = SelfTaughtLearner("auto", 32, **options).fit(rows)
    assert learner.encoder_ == "linear"
    found, start = learner.transform(rows), PCA(32, random_state=0).fit_transform(rows)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    assert recall_at_k(found, labels) >= max(0.96, recall_at_k(start, labels) - 0.005)
    assert mean_average_precision_at_r(found, labels) > mean_average_precision_at_r(start, labels)
    # One epoch's mean is of few triplets: from epoch to epoch it goes up and down by .01, halves of a run by less.
    assert np.mean(learner.loss_curve_[3:]) < np.mean(learner.loss_curve_[:3])
    wide = SelfTaughtLearner("auto", 80, **options | {"epochs": 1}).fit(rows).transform(rows)
    assert wide.std(axis=0).min() > 0  # of 64 components: no column is empty


def test_rows_that_mining_finds_nothing_in_are_named():
    with pytest.raises(PreconditionError, match="mining found no anchor"):
        SelfTaughtLearner("linear", objective="manifold_triplet", epochs=1).fit(np.eye(6))


def test_mixed_precision_learns_nearly_the_same(digits):
    rows = digits[0].reshape(300, -1)
    options = SMALL | {"encoder": "linear", "epochs": 1}
    full, mixed = (SelfTaughtLearner(**options, precision=p).fit(rows).transform(rows) for p in ("full", "bf16"))
    assert not np.array_equal(full, mixed)
    assert (full * mixed).sum(1).mean() > 0.98


@pytest.mark.parametrize("parts", ["use_context", "use_g", "use_distillation"])
def test_parts_of_the_loss_can_be_left_out(digits, parts):
    rows = digits[0][:100].reshape(100, -1)
    options = SMALL | {"encoder": "linear", "epochs": 1}
    whole = SelfTaughtLearner(**options).fit(rows).transform(rows)
    assert not np.array_equal(whole, SelfTaughtLearner(**options, **{parts: False}).fit(rows).transform(rows))


@pytest.mark.parametrize("encoder", ["resnet", "patches", "module"])
def test_an_encoder_can_be_trained_saved_and_loaded(digits, tmp_path, encoder):
    images = digits[0][:60]
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2))
    given = module if encoder == "module" else encoder
    learner = SelfTaughtLearner(given, train_encoder=True, epochs=1, **SMALL).fit(images)
    assert (learner.encoder_, learner.trained_) == (encoder, True)
    before = module[0].weight.clone()
    learner.save(tmp_path / "l.safetensors")
    loaded = SelfTaughtLearner.load(tmp_path / "l.safetensors", encoder=module if encoder == "module" else None)
    assert np.array_equal(learner.transform(images), loaded.transform(images))
    assert torch.equal(module[0].weight, before)  # the user's module is copied, not trained
    if encoder == "module":
        with pytest.raises(Exception, match="encoder=module"):
            SelfTaughtLearner.load(tmp_path / "l.safetensors")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"encoder": "patches"}, InputError, "for images"),
        ({"encoder": "efficientnet-lite0"}, InputError, "for images"),
        ({"encoder": "mlp", "train_encoder": True}, InputError, "train_encoder"),
        ({"objective": "guess"}, InputError, "manifold_triplet"),
        ({"precision": "half"}, InputError, "bf16"),
        ({"accumulate": 0}, InputError, "accumulate"),
    ],
)
def test_what_cannot_be_is_named(options, error, words):
    with pytest.raises(error, match=words):
        SelfTaughtLearner(**options).fit(np.random.default_rng(0).normal(size=(30, 9)))


@pytest.mark.parametrize(("name", "package"), [("timm:resnet18", "timm"), ("hf:facebook/dinov2-small", "transformers")])
def test_nets_of_missing_packages_say_what_to_install(digits, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f"pip install {package}"):
        SelfTaughtLearner(name).fit(digits[0])


def test_figures_go_where_they_are_wanted(digits, monkeypatch):
    seen = []
    rows = digits[0][:100].reshape(100, -1)
    SelfTaughtLearner("linear", epochs=1, **SMALL).fit(rows, log=lambda *figure: seen.append(figure))
    assert {name for name, _, _ in seen} == {"loss", "learning_rate", "mining_seconds", "epoch_seconds"}
    assert [step for name, _, step in seen if name == "loss"] == list(range(1, len(seen) // 2))
    mining, whole = ([v for name, v, _ in seen if name == wanted] for wanted in ("mining_seconds", "epoch_seconds"))
    assert len(mining) == len(whole) == 1
    assert 0 < mining[0] < whole[0]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingPackageError, match="pip install tensorboard"):
        SelfTaughtLearner("linear", epochs=1, **SMALL).fit(rows, log="runs")
