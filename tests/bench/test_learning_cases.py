"""The gates of the cases "learning" and "mining" let right results pass and catch wrong ones."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bench.cases import learning, mining


@pytest.fixture(scope="module")
def batch():
    return learning._batch(60)


def test_our_loss_and_the_loops_pass(batch):
    for found in (learning._ours(batch)(), learning._loop(batch.f, batch.g, batch.teacher, batch.groups)):
        verdict = learning._gate(batch, found)
        assert verdict.passed, verdict.detail


def test_a_loss_that_forgets_the_context_is_caught(batch, monkeypatch):
    from fastclust.learning import losses

    whole = losses.contextual_similarity
    monkeypatch.setattr(losses, "contextual_similarity", lambda *rows, **how: whole(*rows, **how, contextual=False))
    assert not learning._gate(batch, learning._ours(batch)()).passed


def test_a_wrong_slope_is_caught(batch):
    found = learning._ours(batch)()
    wrong = [found.slopes[0], found.slopes[1] * 1.01]
    assert not learning._gate(batch, found._replace(slopes=wrong)).passed


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr(mining.datasets, "fashion_mnist", lambda n: load_digits().data[:n].astype(np.float32))


def test_similarity_passes_and_too_few_iterations_are_caught(rows):
    problem = mining._similarity(300)
    data = problem.data()
    for contender in problem.contenders:
        verdict = problem.gate(data, contender.prepare(data)())
        assert verdict.passed, verdict.detail
    short = mining_with(data, 2)
    assert not problem.gate(data, short).passed


def mining_with(data, iterations):
    from fastclust.mining import manifold_similarity

    return manifold_similarity(data.transition, np.arange(300), alpha=0.99, iterations=iterations)


def test_pools_pass_and_those_of_other_rows_are_caught(rows):
    problem = mining._pools(300)
    data = problem.data()
    for contender in problem.contenders:
        found = contender.prepare(data)()
        verdict = problem.gate(data, found)
        assert verdict.passed, verdict.detail
    shifted = found._replace(positives=found.positives[1:] + found.positives[:1])
    assert not problem.gate(data, shifted).passed
