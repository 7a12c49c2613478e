"""Files of plain numbers in rows of one length: ``.npy``, big-ann-benchmarks' ``.fbin`` and TEXMEX's ``.fvecs``."""

from __future__ import annotations

import mmap
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.data.npy import header_of
from fastclust.data.source import RowSource
from fastclust.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastclust.data.places import Place

__all__ = ["SUFFIXES", "open_raw"]

_BIN = {".fbin": "<f4", ".u8bin": "u1", ".i8bin": "i1", ".ibin": "<i4"}
_VECS = {".fvecs": "<f4", ".ivecs": "<i4", ".bvecs": "u1"}
SUFFIXES = frozenset([".npy", *_BIN, *_VECS])
#: No vectors are this long; a dimension beyond it is no dimension.
_LONGEST = 1 << 24
#: What is read at once from elsewhere, in bytes, where single rows are taken.
_RANGE = 1 << 22


class _Layout(NamedTuple):
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    offset: int
    fortran: bool = False
    #: Bytes before each row: fvecs repeats the dimension.
    lead: int = 0


def open_raw(place: Place) -> RowSource:
    """Open a file by its suffix. Raises DataError, NotFoundError; the header is checked against the file's size."""
    size = place.size()
    if place.suffix in _BIN:
        layout = _bin(place, size)
    elif place.suffix in _VECS:
        layout = _vecs(place, size)
    else:
        header = header_of(place.name, place.bytes, size)
        if len(header.shape) != 2:
            raise DataError(f"{place.name}: shape {header.shape}; rows are [n, d].")
        n, d = header.shape
        layout = _Layout((n, d), header.dtype, header.offset, header.fortran_order and n > 1 and d > 1)
    if place.path is not None:
        return _Mapped(place, layout)
    if layout.fortran:
        raise DataError(f"{place.name}: Fortran order cannot be read in rows from a URL. Write it in C order.")
    return _Ranges(place, layout)


def _bin(place: Place, size: int) -> _Layout:
    """uint32 n, uint32 d, then n rows (https://big-ann-benchmarks.com)."""
    head = place.bytes(0, 8)
    if len(head) < 8:
        raise DataError(f"{place.name}: {size} bytes; a {place.suffix} file begins with two of four.")
    n, d = (int(value) for value in np.frombuffer(head, "<u4"))
    dtype = np.dtype(_BIN[place.suffix])
    expected = n * d * dtype.itemsize
    if size - 8 != expected:
        raise DataError(f"{place.name}: {size - 8} bytes of payload; shape ({n}, {d}) of {dtype} needs {expected}.")
    return _Layout((n, d), dtype, 8)


def _vecs(place: Place, size: int) -> _Layout:
    """Each row is int32 d and d numbers (http://corpus-texmex.irisa.fr)."""
    if size == 0:
        return _Layout((0, 0), np.dtype(_VECS[place.suffix]), 0, lead=4)
    head = place.bytes(0, 4)
    d = int.from_bytes(head, "little", signed=True) if len(head) == 4 else -1
    dtype = np.dtype(_VECS[place.suffix])
    record = 4 + d * dtype.itemsize
    if not 0 < d <= _LONGEST or size % record:
        raise DataError(f"{place.name}: {size} bytes are no rows of {d} x {dtype}, four bytes before each.")
    last = int.from_bytes(place.bytes(size - record, 4), "little", signed=True)
    if last != d:
        raise DataError(f"{place.name}: the last row says {last} numbers, the first {d}.")
    return _Layout((size // record, d), dtype, 0, lead=4)


def _record(layout: _Layout) -> np.dtype[Any]:
    return np.dtype([("d", "<i4"), ("row", layout.dtype, (layout.shape[1],))])


class _Mapped(RowSource):
    """A local file, mapped: pages belong to the system's cache, and a block is a view of them."""

    def __init__(self, place: Place, layout: _Layout) -> None:
        super().__init__(layout.shape, layout.dtype, place.name)
        assert place.path is not None
        n, d = layout.shape
        self._lead = layout.lead
        if n * d == 0:
            self._rows: NDArray[Any] = np.empty((n, d), layout.dtype)
            self._map = None
            return
        with place.path.open("rb") as file:
            # Private and writable, though nothing is written: compiled kernels are the same as for other arrays.
            # Without a reservation, as no page is ever copied.
            flags = mmap.MAP_PRIVATE | (0x4000 if sys.platform == "linux" else 0)
            self._map = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        if layout.lead:
            self._records = np.frombuffer(self._map, _record(layout), n)
            self._rows = self._records["row"]
        else:
            flat = np.frombuffer(self._map, layout.dtype, n * d, layout.offset)
            self._rows = flat.reshape(d, n).T if layout.fortran else flat.reshape(n, d)
        self._width = 0 if layout.fortran else layout.lead + d * layout.dtype.itemsize
        self._offset = layout.offset
        self.mapped = layout.lead == 0 and not layout.fortran

    def pieces(self, start: int, stop: int, most: int) -> Iterator[NDArray[Any]]:
        for at in range(start, stop, most):
            end = min(stop, at + most)
            self._expect(at, end)
            if self._lead:
                _check(self.name, self._records["d"][at:end], self._shape[1], at)
            yield self._rows[at:end]

    def _take(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        if self._lead:
            _check(self.name, self._records["d"][wanted], self._shape[1], -1)
        return np.ascontiguousarray(self._rows[wanted])

    def _expect(self, start: int, stop: int) -> None:
        """Let the system read these pages while we are busy with others."""
        if self._map is None or not self._width or not hasattr(self._map, "madvise"):
            return
        first = (self._offset + start * self._width) // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_WILLNEED, first, self._offset + stop * self._width - first)


class _Ranges(RowSource):
    """A file elsewhere, read in ranges of bytes."""

    def __init__(self, place: Place, layout: _Layout) -> None:
        super().__init__(layout.shape, layout.dtype, place.name)
        self._place, self._layout = place, layout
        self._width = layout.lead + layout.shape[1] * layout.dtype.itemsize

    def edges(self) -> NDArray[np.int64]:
        step = max(1, _RANGE // max(1, self._width))
        return np.append(np.arange(0, len(self), step), len(self))

    def pieces(self, start: int, stop: int, most: int) -> Iterator[NDArray[Any]]:
        for at in range(start, stop, most):
            count = min(stop, at + most) - at
            raw = self._place.bytes(self._layout.offset + at * self._width, count * self._width)
            if len(raw) != count * self._width:
                raise DataError(f"{self.name}: ends inside row {at + len(raw) // self._width}.")
            if self._layout.lead:
                records = np.frombuffer(raw, _record(self._layout))
                _check(self.name, records["d"], self._shape[1], at)
                yield records["row"]
            else:
                yield np.frombuffer(raw, self._dtype).reshape(count, self._shape[1])


def _check(name: str, said: NDArray[Any], d: int, first: int) -> None:
    """Every row must say the same dimension."""
    if (said != d).any():
        place = int(np.flatnonzero(said != d)[0])
        where = f"row {first + place}" if first >= 0 else "a row"
        raise DataError(f"{name}: {where} says {int(said[place])} numbers, the first {d}.")
