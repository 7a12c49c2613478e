"""The one tensor codec: arrays to bytes + dtype + shape, and back.

Elements travel little-endian in C order (``fastclust.v1.Tensor``). Nothing here copies more than once, and nothing is
allocated before the sizes were compared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastclust.checksums import crc32c
from fastclust.errors import DataLossError, InputError, InputTypeError
from fastclust.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["crc32c", "decode", "dtype_of", "encode", "nbytes", "spec_of", "verify"]

_DATA_TYPES: dict[common_pb2.DataType.ValueType, np.dtype[np.generic]] = {
    common_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    common_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    common_pb2.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    common_pb2.DATA_TYPE_INT8: np.dtype("i1"),
    common_pb2.DATA_TYPE_INT16: np.dtype("<i2"),
    common_pb2.DATA_TYPE_INT32: np.dtype("<i4"),
    common_pb2.DATA_TYPE_INT64: np.dtype("<i8"),
    common_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    common_pb2.DATA_TYPE_UINT16: np.dtype("<u2"),
    common_pb2.DATA_TYPE_UINT32: np.dtype("<u4"),
    common_pb2.DATA_TYPE_UINT64: np.dtype("<u8"),
    common_pb2.DATA_TYPE_BOOL: np.dtype("?"),
}
_NUMBERS = {dtype: number for number, dtype in _DATA_TYPES.items()}
#: Sizes above this are refused before arithmetic on them: no payload is that large.
_MAX_BYTES = 2**62


def _allowed() -> str:
    return ", ".join(dtype.name for dtype in _NUMBERS)


def spec_of(dtype: np.dtype[np.generic], shape: Sequence[int], field: str = "array") -> common_pb2.TensorSpec:
    """Describe a tensor. Raises InputTypeError, naming ``field``, where the dtype has no place on the wire."""
    number = _NUMBERS.get(dtype)
    if number is None:
        number = _NUMBERS.get(np.dtype(dtype).newbyteorder("<"))
    if number is None:
        raise InputTypeError(field, f"dtype {dtype}", _allowed(), "Convert it, for example with .astype('float32').")
    return common_pb2.TensorSpec(dtype=number, shape=shape)


def dtype_of(spec: common_pb2.TensorSpec, field: str = "tensor") -> np.dtype[np.generic]:
    """Return the NumPy dtype of ``spec``, little-endian."""
    dtype = _DATA_TYPES.get(spec.dtype)
    if dtype is None:
        came = common_pb2.DataType.Name(spec.dtype) if spec.dtype in common_pb2.DataType.values() else str(spec.dtype)
        raise InputTypeError(f"{field}.dtype", came, _allowed())
    return dtype


def nbytes(spec: common_pb2.TensorSpec, field: str = "tensor") -> int:
    """Compute the size of the payload that ``spec`` describes. Raises InputError for negative or absurd extents."""
    shape = list(spec.shape)
    if shape and min(shape) < 0:
        raise InputError(f"{field}.shape", shape, "extents of zero or more")
    total = dtype_of(spec, field).itemsize * math.prod(shape)
    if total > _MAX_BYTES:
        raise InputError(f"{field}.shape", shape, f"at most {_MAX_BYTES} bytes in all")
    return total


def encode(array: NDArray[np.generic], field: str = "array") -> common_pb2.Tensor:
    """Put a small array into a message."""
    spec = spec_of(array.dtype, array.shape, field)
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return common_pb2.Tensor(spec=spec, data=little.tobytes())


def decode(tensor: common_pb2.Tensor, field: str = "tensor") -> NDArray[np.generic]:
    """Take an array out of a message: a read-only view of one copy of its bytes."""
    spec = tensor.spec
    expected = nbytes(spec, field)
    data = tensor.data  # each access to a bytes field copies
    if len(data) != expected:
        raise InputError(f"{field}.data", f"{len(data)} bytes", f"{expected} bytes for shape {list(spec.shape)}")
    return np.frombuffer(data, dtype=_DATA_TYPES[spec.dtype]).reshape(tuple(spec.shape))


def verify(data: bytes | memoryview, expected: int, what: str, came: int | None = None) -> None:
    """Raise DataLossError if ``data`` does not have the CRC32C ``expected``; ``came`` is what it has, where known."""
    if came is None:
        came = crc32c(data)
    if came != expected:
        raise DataLossError(f"{what}: CRC32C is {came:08x}, sent with {expected:08x}: bytes were damaged on the way.")
