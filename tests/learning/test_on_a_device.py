"""Training and asking on a GPU: with a stand-in that refuses what a GPU would, and beside the CPU's figures."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import fastclust as fc
from fastclust.errors import BackendError, InputError
from fastclust.learning.losses import contextual_similarity

#: Of the smallest cosine between a row's embeddings, and of epochs' losses: sums go another way on a device, and
#: training carries that on. Another random number, or a batch in another order, is far beyond both.
_COSINE, _LOSS = 0.98, 5e-3


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, "-m", "tests.learning.elsewhere"], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "which",
    [
        "patches",
        "patches, trained",
        "resnet, triplets",
        "linear, pairs",
        "rows",
        "rows, no context",
        "views given",
        "module",
        "module there",
        "views of the host",
        "images of the host",
        "held out",
        "tuned by pairs",
        "tuned by triplets",
    ],
)
def test_a_device_learns_what_the_cpu_does_and_no_step_waits_for_it(found, which):
    told = found[which]
    assert told["device"] == "there:0"
    assert told["cosine"] > _COSINE
    assert told["losses"] < _LOSS
    assert told["steps"] > 10
    assert told["waits"] == []
    # The loss is asked for every tenth step, from the first on.
    assert told["between"] <= 0.2
    here, there = told["scores"]
    assert np.allclose(here, there, atol=0.06)
    assert len(here) == (2 if which == "held out" else 0)


def test_a_training_that_was_broken_off_goes_on_there_to_the_same_bits(found):
    assert found["resumed"] == {"stopped": True, "same": True}


def test_a_learner_of_a_device_is_kept_and_opened_anywhere(found):
    told = found["kept"]
    assert told["devices"] == ["cpu", "there:0", "auto", "there"]
    assert told["here"] < 1e-5
    assert told["there"]
    assert told["tuned"] == "there:0"
    assert told["files"] == 1


def test_a_learner_is_asked_where_it_is_told_and_pickled_without_a_device(found):
    told = found["moved"]
    assert told["devices"] == ["there:0", "cpu", "there:0", "cpu"]
    assert told["gap"] < 1e-5
    assert told["features"] == ["there", "there"]


def test_steps_are_watched_for_waits(found):
    # Without what is watched the emptiness of "waits" would say nothing.
    assert found["watched"] == ["a copy to the device", "a copy to the host", "aten::_local_scalar_dense"]
    assert found["refused"].endswith("tensors of the host and of the device")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU is here")
def test_a_gpu_that_is_not_there_is_refused_before_any_work(rows, tmp_path):
    with pytest.raises(BackendError, match="sees no CUDA GPU"):
        fc.SelfTaughtLearner(device="cuda").fit(rows)
    with pytest.raises(BackendError, match="sees no CUDA GPU"):
        fc.run(rows, tmp_path / "run", device="cuda:0")
    assert not (tmp_path / "run").exists()


def test_what_is_no_device_is_refused(rows):
    for device in ("gpu-7", 3):
        with pytest.raises(InputError, match="device"):
            fc.SelfTaughtLearner(device=device).fit(rows)
    with pytest.raises(BackendError, match="float64"):
        fc.SelfTaughtLearner(device="mps").fit(rows)
    with pytest.raises(BackendError, match="device='meta'"):
        fc.SelfTaughtLearner(device="meta").fit(rows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_learns_what_the_cpu_does(rows):
    rows = np.random.default_rng(1).standard_normal((600, 20)).astype(np.float32)
    params = {"epochs": 2, "batch_size": 60, "embedding_dim": 16, "random_state": 0}
    here, there = (fc.SelfTaughtLearner(device=device, **params).fit(rows) for device in ("cpu", "cuda"))
    assert there.device_.startswith("cuda")
    assert (here.transform(rows) * there.transform(rows)).sum(1).min() > _COSINE
    again = fc.SelfTaughtLearner(device="cuda", **params).fit(rows)
    assert (again.transform(rows) == there.transform(rows)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_learns_in_bfloat16_and_with_rows_of_the_host(monkeypatch):
    from fastclust.learning import devices

    monkeypatch.setattr(devices, "memory_of", lambda _: 0.0)
    rows = np.random.default_rng(1).standard_normal((600, 20)).astype(np.float32)
    learner = fc.SelfTaughtLearner(device="cuda", precision="bf16", epochs=1, random_state=0).fit(rows)
    assert np.isfinite(learner.transform(rows)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_contextual_similarity_on_a_gpu_is_the_cpus():
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(240, 64, generator=generator)
    groups = torch.arange(120).repeat(2)
    here = contextual_similarity(teacher.double(), groups, k=10, sigma=3.0)
    there = contextual_similarity(teacher.double().cuda(), groups.cuda(), k=10, sigma=3.0)
    assert torch.allclose(here, there.cpu(), atol=1e-9)
