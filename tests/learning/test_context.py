"""What the graph of all rows says, against dense linear algebra."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from fastclust.learning.context import dataset_context
from fastclust.learning.losses import contextual_similarity
from fastclust.learning.networks import Heads, fit_projection
from fastclust.learning.objectives import with_dataset
from fastclust.learning.samplers import NeighborhoodSampler
from fastclust.learning.teacher import follow, teacher_of
from fastclust.neighbors.affinity import affinity, normalised


def silent():
    pass


def dense_transition(rows, k):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = (unit @ unit.T).astype(np.float64)
    np.fill_diagonal(cosine, -2)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return normalised(affinity(order, np.take_along_axis(cosine, order, 1), exponent=3.0, mutual=False)).toarray()


@pytest.mark.parametrize("n", [300, 700])
def test_cosines_of_coordinates_are_those_of_the_truncated_manifold_similarity(n):
    """300 rows go through the dense solver, 700 through Lanczos."""
    rows = load_digits().data[:n].astype(np.float32)
    found = dataset_context(rows, n_neighbors=10, n_coordinates=12, seed=0, tick=silent)
    values, vectors = np.linalg.eigh(dense_transition(rows, 10))
    kernel = (vectors[:, -12:] / (1 - 0.99 * values[-12:])) @ vectors[:, -12:].T
    expected = kernel / np.sqrt(np.outer(kernel.diagonal(), kernel.diagonal()))
    np.testing.assert_allclose(found.coordinates @ found.coordinates.T, expected, atol=5e-3)
    assert found.neighbors.shape == (n, 10)
    assert found.spread is None


def test_rows_without_a_place_in_the_graph_keep_the_similarity_of_the_batch():
    W = contextual_similarity(torch.randn(4, 3), torch.arange(4), k=2, sigma=1.0)
    coordinates = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]])
    mixed = with_dataset(W, coordinates, 0.25)
    assert torch.equal(mixed[2], W[2])
    torch.testing.assert_close(mixed[0, 1], 0.75 * W[0, 1] + 0.25 * 0.6)
    torch.testing.assert_close(mixed[0, 3], 0.75 * W[0, 3])


def test_every_row_is_a_query_once_an_epoch_with_its_nearest():
    neighbors = (np.arange(20)[:, None] + np.arange(1, 5)) % 20
    sampler = NeighborhoodSampler(5, 3, seed=0)
    sampler.set_epoch(0, neighbors)
    batches = [batch.reshape(5, 3) for batch in sampler]
    assert sorted(np.concatenate(batches)[:, 0]) == list(range(20))
    for row in np.concatenate(batches):
        assert list(row[1:]) == list(neighbors[row[0], :2])
    sampler.set_epoch(1, neighbors)
    assert not np.array_equal(next(iter(sampler)), batches[0].ravel())
    other = NeighborhoodSampler(5, 3, seed=9)
    other.load_state_dict(sampler.state_dict())
    other.set_epoch(1, neighbors)
    assert np.array_equal(next(iter(other)), next(iter(sampler)))


def test_the_teacher_is_a_moving_average_by_names():
    options = {"hidden": 6, "embedding_dim": 3, "teacher_dim": 5, "encoder": "mlp"}
    student = Heads(4, **options, seed=0)
    teacher = teacher_of(student)
    before = {name: value.clone() for name, value in teacher.named_parameters()}
    with torch.no_grad():
        for value in student.parameters():
            value.add_(1.0)
    student(torch.randn(8, 4))
    follow(teacher, student, 0.9)
    for name, value in teacher.named_parameters():
        torch.testing.assert_close(value, 0.9 * before[name] + 0.1 * dict(student.named_parameters())[name])
        assert not value.requires_grad
    for name, value in teacher.named_buffers():
        assert torch.equal(value, dict(student.named_buffers())[name])


def test_heads_start_orthogonal():
    weight = Heads(4, hidden=8, embedding_dim=3, teacher_dim=20, encoder="mlp", seed=0).f.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(3), rtol=1e-4, atol=1e-5)


def test_the_projection_is_a_pca():
    from sklearn.decomposition import PCA

    rows = load_digits().data.astype(np.float32)
    mean, components = fit_projection(rows, 10, seed=0)
    found = (rows - mean) @ components
    expected = PCA(10).fit_transform(rows)
    scale = np.sqrt((expected**2).sum(1).mean())
    np.testing.assert_allclose(np.abs(found), np.abs(expected) / scale, atol=1e-3)
    assert fit_projection(rows[:4], 10, seed=0)[1].shape == (64, 3)
