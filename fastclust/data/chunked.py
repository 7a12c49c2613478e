"""Zarr arrays and HDF5 data sets ``[n, d]``."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data.source import RowSource
from fastclust.errors import DataError, InputError, MissingPackageError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastclust.data.places import Place

__all__ = ["SUFFIXES", "open_chunked"]

_HDF5 = (".h5", ".hdf5", ".hdf")
SUFFIXES = frozenset([".zarr", *_HDF5])
_KINDS = "fiub"


def open_chunked(place: Place, dataset: str | None, *, fill_missing: bool) -> RowSource:
    """Open by suffix. Raises DataError, NotFoundError, InputError, MissingPackageError."""
    package, opened = ("h5py", _open_hdf5) if place.suffix in _HDF5 else ("zarr", _open_zarr)
    try:
        array, name, found, expected = opened(place, dataset)
    except ImportError as error:
        raise MissingPackageError(f'{place.name}: needs {package}. Run: pip install "fastclust[files]"') from error
    if array.ndim != 2 or array.dtype.kind not in _KINDS:
        raise DataError(f"{name}: {array.dtype}, shape {array.shape}; rows are numbers [n, d].")
    if found < expected and not fill_missing:
        raise DataError(
            f"{name}: {expected - found} of {expected} chunks are missing. If the writer leaves out chunks of one "
            "value, open it with fill_missing=True."
        )
    return _Chunked(array, name)


def _open_zarr(place: Place, dataset: str | None) -> tuple[Any, str, int, int]:
    import zarr

    try:
        node = zarr.open(place.mapper(), mode="r")
        if isinstance(node, zarr.Group):
            names = {key: value for key, value in node.members(max_depth=None) if isinstance(value, zarr.Array)}
            key = _chosen(place.name, names, dataset)
            node, name = names[key], f"{place.name}/{key}"
        else:
            name = place.name
        return node, name, int(node.nchunks_initialized), int(node.nchunks)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{place.name}: holds no Zarr array ({error}).") from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{place.name}: not a readable Zarr array ({error}).") from error


def _open_hdf5(place: Place, dataset: str | None) -> tuple[Any, str, int, int]:
    import h5py

    place.size()
    try:
        file = h5py.File(place.path if place.path is not None else place.open(), "r")
    except FileNotFoundError as error:
        raise NotFoundError(f"{place.name}: no such file.") from error
    except OSError as error:
        raise DataError(f"{place.name}: not a readable HDF5 file ({error}).") from error
    found: dict[str, Any] = {}
    file.visititems(lambda key, item: found.__setitem__(key, item) if isinstance(item, h5py.Dataset) else None)
    key = _chosen(place.name, found, dataset)
    array = found[key]
    name = f"{place.name}/{key}"
    if array.ndim != 2 or array.dtype.kind not in _KINDS:
        return array, name, 0, 0
    if array.chunks is not None:
        expected = int(np.prod([-(-extent // chunk) for extent, chunk in zip(array.shape, array.chunks, strict=True)]))
        return array, name, int(array.id.get_num_chunks()), expected
    stored, needed = int(array.id.get_storage_size()), array.size * array.dtype.itemsize
    if stored not in (0, needed):
        raise DataError(f"{name}: {stored} bytes are stored; shape {array.shape} of {array.dtype} needs {needed}.")
    return array, name, int(stored == needed), 1


def _chosen(name: str, arrays: dict[str, Any], asked: str | None) -> str:
    """The array asked for, or the only one of numbers in two dimensions."""
    if asked is not None:
        if asked not in arrays:
            raise InputError("dataset", repr(asked), f"arrays of {name}: {', '.join(arrays) or 'none'}")
        return asked
    fit = [key for key, array in arrays.items() if array.ndim == 2 and array.dtype.kind in _KINDS]
    if len(fit) != 1:
        came = f"{len(fit)} arrays [n, d] in {name}"
        raise InputError("dataset", came, f"the name of one: {', '.join(fit or arrays) or 'there is none'}")
    return fit[0]


class _Chunked(RowSource):
    def __init__(self, array: Any, name: str) -> None:
        super().__init__((int(array.shape[0]), int(array.shape[1])), np.dtype(array.dtype), name)
        self._array = array
        self._step = int(array.chunks[0]) if array.chunks is not None else max(1, (1 << 22) // max(1, array[:1].nbytes))

    def edges(self) -> NDArray[np.int64]:
        return np.append(np.arange(0, len(self), self._step), len(self)).astype(np.int64)

    def pieces(self, start: int, stop: int, most: int) -> Iterator[NDArray[Any]]:
        # Ends on chunks where a piece holds one, so that none is decoded twice.
        step = most // self._step * self._step or most
        cuts = [start, *range((start // step + 1) * step, stop, step), stop] if start < stop else [start]
        for low, high in pairwise(cuts):
            try:
                piece = np.asarray(self._array[low:high])
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise DataError(f"{self.name}: rows {low} to {high} cannot be read ({error}).") from error
            if len(piece) != high - low:
                raise DataError(f"{self.name}: ends inside row {low + len(piece)}.")
            yield piece
