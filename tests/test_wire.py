import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust import wire
from fastclust.errors import DataLossError, InputError, InputTypeError
from fastclust.v1 import common_pb2

NAMES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(NAMES).flatmap(
        lambda name: arrays.arrays(np.dtype(name), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    )
)
def test_an_array_comes_back_as_it_went(array):
    back = wire.decode(wire.encode(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == np.ascontiguousarray(array).tobytes()


def test_big_endian_and_strided_arrays_travel_as_little_endian_c_order():
    array = np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2]
    message = wire.encode(array)
    assert message.data == np.array([[0, 2], [4, 6], [8, 10]], dtype="<i4").tobytes()


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.array([object()]), np.array(["2020"], "M8[D]")])
def test_a_dtype_without_a_place_is_named(array):
    with pytest.raises(InputTypeError, match="X: got dtype") as caught:
        wire.encode(array, "X")
    assert "float32" in caught.value.allowed


@pytest.mark.parametrize("cut", [b"", b"1234567"])
def test_a_payload_of_another_size_is_refused(cut):
    spec = common_pb2.TensorSpec(dtype=common_pb2.DATA_TYPE_FLOAT32, shape=[2])
    with pytest.raises(InputError, match="8 bytes"):
        wire.decode(common_pb2.Tensor(spec=spec, data=cut))


@pytest.mark.parametrize("shape", [[-1], [2**40, 2**40], [-1, -1]])
def test_absurd_shapes_are_refused_before_any_allocation(shape):
    with pytest.raises(InputError, match="shape"):
        wire.nbytes(common_pb2.TensorSpec(dtype=common_pb2.DATA_TYPE_FLOAT32, shape=shape))


@pytest.mark.parametrize("number", [0, 13, 999])
def test_an_unknown_dtype_is_refused(number):
    with pytest.raises(InputTypeError, match=r"tensor\.dtype"):
        wire.dtype_of(common_pb2.TensorSpec(dtype=number, shape=[1]))


def test_crc32c_is_castagnoli_and_can_be_continued():
    assert wire.crc32c(b"123456789") == 0xE3069283  # the check value of the polynomial, RFC 3720
    assert wire.crc32c(b"6789", wire.crc32c(b"12345")) == 0xE3069283


def test_damage_is_found():
    wire.verify(b"abc", wire.crc32c(b"abc"), "block")
    with pytest.raises(DataLossError, match="block"):
        wire.verify(b"abd", wire.crc32c(b"abc"), "block")
