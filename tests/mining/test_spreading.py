"""Labels spread over a normalised affinity, against dense linear algebra."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from fastclust.mining.spreading import spread_labels
from fastclust.neighbors.affinity import normalised


def transition(n, seed):
    rng = np.random.default_rng(seed)
    A = rng.random((n, n)) * (rng.random((n, n)) < 0.1)
    return normalised(csr_matrix(np.maximum(A, A.T)))


@pytest.mark.parametrize("classes", [1, 3, 40])
def test_labels_spread_as_the_closed_form_says(classes):
    """40 labels are more than are solved at once."""
    rng = np.random.default_rng(classes)
    S, labels = transition(150, 0), np.where(rng.random(150) < 0.5, rng.integers(0, classes, 150), -1)
    told = []
    found, confidence = spread_labels(S, labels, told.append)
    names = np.unique(labels[labels >= 0])
    start = np.stack([(labels == name) / (labels == name).sum() for name in names], axis=1)
    scores = np.linalg.solve(np.eye(150) - 0.99 * S.toarray(), start)
    two = np.sort(np.c_[np.zeros(150), scores], axis=1)[:, -2:]
    expected = (two[:, 1] - two[:, 0]) / two.sum(axis=1)
    unknown = labels < 0
    clear = unknown & (expected > 1e-4)
    assert np.array_equal(found[clear], names[scores.argmax(axis=1)][clear])
    np.testing.assert_allclose(confidence[unknown], expected[unknown], atol=1e-4)
    assert np.array_equal(found[~unknown], labels[~unknown])
    assert (confidence[~unknown] == 1).all()
    assert len(told) == -(-len(names) // 16)


def test_rows_that_no_label_reaches_stay_unknown():
    S = np.zeros((5, 5))
    S[0, 1] = S[1, 0] = S[2, 3] = S[3, 2] = 1
    found, confidence = spread_labels(csr_matrix(S), np.array([1, -1, -1, 4, -1]))
    assert found.tolist() == [1, 1, 4, 4, -1]
    assert confidence[4] == 0
