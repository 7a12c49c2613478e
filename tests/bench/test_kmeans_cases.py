"""The k-means gate lets right fits pass and catches wrong labels, centres and counts."""

from dataclasses import replace

import numpy as np
import pytest

from bench.cases.kmeans_fits import contenders, gate, task


@pytest.fixture(scope="module")
def data():
    rows = np.random.default_rng(1).normal(size=(600, 8)).astype(np.float32)
    return task(rows, 12, 7, 0.0)


def fit_of(name, data):
    (chosen,) = [contender for contender in contenders("lloyd") if contender.name == name]
    return chosen.prepare(data)()


@pytest.mark.parametrize("name", ["fastclust", "sklearn-lloyd", "sklearn-elkan", "faiss"])
def test_exact_fits_pass(name, data):
    verdict = gate(data, fit_of(name, data))
    assert verdict.passed, verdict.detail


def test_one_wrong_label_in_a_hundred_is_caught(data):
    fit = fit_of("fastclust", data)
    labels = fit.labels.copy()
    labels[::100] = (labels[::100] + 1) % 12
    assert not gate(data, fit._replace(labels=labels)).passed


def test_labels_of_other_centers_are_caught(data):
    fit = fit_of("fastclust", data)
    assert not gate(data, fit._replace(centers=data.start)).passed


def test_another_number_of_iterations_is_caught(data):
    fit = fit_of("fastclust", data)
    assert not gate(data, fit._replace(n_iter=fit.n_iter - 1)).passed


def test_a_fit_that_parts_fails_though_scikit_learns_own_two_part_as_far(data):
    early = fit_of("fastclust", replace(data, max_iter=6))
    verdict = gate(replace(data, other=early), early)
    assert not verdict.passed
    assert "its own Elkan: " in verdict.detail


def test_where_float32_parted_the_reference_the_float64_fit_decides(data):
    """As of a reference that rounding had sent elsewhere: other iterations and less inertia."""
    parted = replace(data, reference=0.99 * data.reference, reference_iterations=3)
    right = fit_of("fastclust", data)
    verdict = gate(parted, right)
    assert verdict.passed, verdict.detail
    assert "of its float64" in verdict.detail
    labels = right.labels.copy()
    labels[::100] = (labels[::100] + 1) % 12
    assert not gate(parted, right._replace(labels=labels)).passed
    assert not gate(parted, right._replace(n_iter=right.n_iter - 1)).passed
