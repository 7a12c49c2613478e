import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust_kernels.tsne._plan import back, plan_of, there
from fastclust_kernels.tsne._waves import Convolution, Kernels


@pytest.mark.parametrize("length", [2, 4, 6, 8, 10, 12, 18, 30, 64, 72, 90, 100, 108, 250, 1152, 1458])
def test_half_a_column_is_transformed_as_numpy_does_and_comes_back(length):
    plan, half = plan_of(length), length // 2
    planes = np.zeros((2, length, 16), np.float32)
    planes[:, :half] = np.random.default_rng(length).normal(size=(2, half, 16))
    given = planes[0] + 1j * planes[1].astype(np.complex128)
    there(planes, plan.passes, plan.turns)
    expected = np.fft.fft(given, axis=0)
    found = planes[0] + 1j * planes[1]
    assert np.abs(found[plan.place] - expected).max() < 1e-6 * np.abs(expected).max()
    assert np.array_equal(plan.frequency[plan.place], np.arange(length))
    back(planes, plan.passes, plan.turns)
    returned = (planes[0] + 1j * planes[1])[:half] / length
    assert np.abs(returned - given[:half]).max() < 3e-6


@pytest.mark.parametrize("length", [7, 9, 14, 22])
def test_lengths_without_a_plan_are_refused(length):
    with pytest.raises(ValueError, match=str(length)):
        plan_of(length)


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.tuples(*[st.sampled_from([4, 12, 30, 64, 72, 90])] * 2),
    shares=st.tuples(*[st.floats(0.1, 1)] * 2),
    seed=st.integers(0, 999),
)
def test_a_grid_is_convolved_as_by_complex_transforms_in_float64(lengths, shares, seed):
    rng = np.random.default_rng(seed)
    kernels = []
    for parities in ((1, 1), (-1, 1), (1, -1)):
        kernel = rng.normal(size=lengths)
        for axis, parity in enumerate(parities):
            kernel = kernel + parity * np.roll(np.flip(kernel, axis), 1, axis)
        kernels.append(np.fft.fft2(kernel))
    quarter = tuple(slice(0, length // 2 + 1) for length in lengths)
    parts = kernels[0].real, kernels[1].imag, kernels[2].imag
    convolution = Convolution(Kernels.of(lengths, *(part[quarter] for part in parts)))
    rows, columns = (max(1, int(length // 2 * share)) for length, share in zip(lengths, shares, strict=True))
    for _ in range(2):
        grid = convolution.empty(rows, columns)
        assert not grid.any()
        charges = rng.normal(size=(rows, columns))
        grid[:, :columns] = charges
        across, along, energy = convolution(grid)
        waves = np.fft.fft2(charges, lengths)
        for found, kernel in ((across, kernels[1]), (along, kernels[2])):
            expected = np.fft.ifft2(waves * kernel).real[:rows, :columns]
            scale = np.abs(np.fft.ifft2(waves * kernel)).max()
            assert np.abs(found[:, :columns] - expected).max() < 1e-5 * scale + 1e-12
        potential = np.fft.ifft2(waves * kernels[0]).real[:rows, :columns]
        size = np.abs(potential).max() * np.abs(charges).sum()
        assert abs(energy - (potential * charges).sum()) < 1e-5 * size
