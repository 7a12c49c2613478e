"""Checks a ``.npy`` file's header ourselves before NumPy sees the file: an 80-byte file can ask for 32 GiB."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import DataError, NotFoundError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["NpyHeader", "header_of", "open_npy", "read_header"]

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 4096
_KINDS = "fiub"


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What a header says, and where the payload begins."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    offset: int


def read_header(path: str | os.PathLike[str]) -> NpyHeader:
    """Read and check the header.

    Raises
    ------
    NotFoundError
        No such file.
    DataError
        Not a ``.npy`` file, a dtype that is not numeric, or a payload of another size than the header says.
    """
    name = Path(path)

    def read(offset: int, length: int) -> bytes:
        with name.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    try:
        return header_of(str(name), read, name.stat().st_size)
    except FileNotFoundError as error:
        raise NotFoundError(f"{name}: no such file.") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error}).") from error


def header_of(name: str, read: Callable[[int, int], bytes], size: int) -> NpyHeader:
    """Check the header of a file of ``size`` bytes, of which ``read(offset, length)`` gives some. Raises DataError."""
    start = read(0, 12 + _LONGEST_HEADER)
    if len(start) < 12 or not start.startswith(_MAGIC) or start[6] not in (1, 2, 3):
        raise DataError(f"{name}: not a .npy file of version 1 to 3.")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > _LONGEST_HEADER:
        raise DataError(f"{name}: a header of {length} bytes; at most {_LONGEST_HEADER}.")
    header = _parse(name, start[8 + width : 8 + width + length], 8 + width + length)
    expected = math.prod(header.shape) * header.dtype.itemsize
    if size - header.offset != expected:
        raise DataError(
            f"{name}: {size - header.offset} bytes of payload; shape {header.shape} of {header.dtype} needs {expected}."
        )
    return header


def _parse(name: str, text: bytes, offset: int) -> NpyHeader:
    try:
        value = ast.literal_eval(text.decode("latin-1").strip())
        dtype, order, shape = np.dtype(value["descr"]), value["fortran_order"], value["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise DataError(f"{name}: the .npy header cannot be read.") from error
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
        raise DataError(f"{name}: dtype {dtype}; allowed: plain numbers (float, int, uint, bool).")
    if not isinstance(order, bool) or not isinstance(shape, tuple):
        raise DataError(f"{name}: the .npy header cannot be read.")
    if not all(isinstance(extent, int) and 0 <= extent < 2**62 for extent in shape):
        raise DataError(f"{name}: shape {shape}; allowed: extents of zero or more.")
    return NpyHeader(dtype, shape, order, offset)


def open_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Map a checked ``.npy`` file into memory, read-only."""
    header = read_header(path)
    if math.prod(header.shape) == 0:
        return np.empty(header.shape, header.dtype)
    mapped: NDArray[Any] = np.memmap(
        path, dtype=header.dtype, mode="r", offset=header.offset, shape=header.shape,
        order="F" if header.fortran_order else "C",
    )  # fmt: skip
    return mapped
