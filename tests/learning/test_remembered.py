"""What steps said of rows."""

import numpy as np
import torch

from fastclust.learning.remembered import Remembered


def test_only_rows_that_no_step_looked_at_are_embedded_and_a_state_brings_all_back():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(20, 4)).astype(np.float32)
    asked = []

    def embed(rows):
        asked.append(rows.tolist())
        return true[rows]

    memory = Remembered(20)
    assert memory.state() == {}
    np.testing.assert_array_equal(memory.described(np.arange(3), embed), true[:3])
    memory.note(torch.tensor([5, 2, 5]), torch.tensor([[9.0, 0, 0, 0], [0, 3.0, 4.0, 0], [0, 2.0, 0, 0]]))
    other = Remembered(20)
    other.restore(memory.state(), torch.device("cpu"))
    for one in (memory, other):
        asked.clear()
        found = one.described(np.array([1, 2, 5, 7]), embed)
        np.testing.assert_allclose(found, [true[1], [0, 0.6, 0.8, 0], [0, 1, 0, 0], true[7]], rtol=1e-6)
        assert asked == [[1, 7]]
        one.forget()
        np.testing.assert_array_equal(one.described(np.array([2, 5]), embed), true[[2, 5]])
    other.restore({}, torch.device("cpu"))
    assert other.state()["remembered_rows"].size == 0
