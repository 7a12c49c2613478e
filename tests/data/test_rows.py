import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastclust as fc
from fastclust.data.npy import open_npy, read_header
from fastclust.errors import DataError, InputError, InputTypeError, NotFoundError


@pytest.fixture
def saved(tmp_path):
    rows = np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    return tmp_path / "rows.npy", rows


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 50), block=st.integers(1, 60))
def test_blocks_are_the_rows_in_order(n, block):
    rows = np.arange(3.0 * n).reshape(n, 3)
    blocks = list(fc.open_rows(rows).blocks(block))
    assert all(len(part) <= block for part in blocks)
    assert np.array_equal(np.concatenate(blocks), rows)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "u1", "<i8"])
def test_a_file_that_numpy_wrote_is_read(tmp_path, dtype, order):
    rows = np.asarray(np.arange(12).reshape(4, 3), dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", rows)
    source = fc.open_rows(tmp_path / "x.npy")
    assert (source.shape, source.dtype) == ((4, 3), rows.dtype)
    assert np.array_equal(source.read(), rows)
    assert np.array_equal(source.take([2, 0]), rows[[2, 0]])


def test_a_file_stays_on_disk(saved):
    path, rows = saved
    assert isinstance(open_npy(path), np.memmap)
    assert np.array_equal(np.asarray(fc.open_rows(path)), rows)


@pytest.mark.parametrize("keep", [0, 5, 11, 60, 200, -1])
def test_a_truncated_file_is_refused(saved, keep):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"rows\.npy"):
        fc.open_rows(path)


def test_a_header_that_asks_for_more_than_there_is_allocates_nothing(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes().replace(b"(23, 4)", b"(99999999999, 4)"[:7]))
    with pytest.raises(DataError):
        read_header(path)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
        b"{'descr': '<f4', 'shape': (2,), }",
        b"__import__('os').system('true')",
        b"[" * 900,
    ],
)
def test_a_header_that_lies_or_attacks_is_refused(tmp_path, header):
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8))
    with pytest.raises(DataError):
        read_header(path)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (np.zeros(3), InputError),
        (np.zeros((0, 3)), InputError),
        (np.zeros((3, 0)), InputError),
        (np.array([["a"]]), InputTypeError),
        (np.array([[1j]]), InputTypeError),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(source, error):
    with pytest.raises(error, match="source"):
        fc.open_rows(source)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(NotFoundError, match="nothing"):
        fc.open_rows(tmp_path / "nothing.npy")
