"""Opens rows of numbers, wherever they lie."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data import chunked, columnar, raw
from fastclust.data.npy import read_header
from fastclust.data.places import Place, expand, is_url
from fastclust.data.source import ArrayRows, RowSource, ShardedRows
from fastclust.errors import DataError, InputError, InputTypeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["RowSource", "holds_rows", "open_rows"]

_KINDS = "fiub"
_SUFFIXES = raw.SUFFIXES | columnar.SUFFIXES | chunked.SUFFIXES
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def open_rows(
    source: Any,
    *,
    columns: Sequence[str] | None = None,
    dataset: str | None = None,
    fill_missing: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    memory: int | str | None = None,
) -> RowSource:
    """Open rows ``[n, d]``. A file is checked and stays where it is; its rows are read in blocks as they are needed.

    Parameters
    ----------
    source
        An array or anything that NumPy takes for one; a RowSource; or a path or URL (any that fsspec knows), a pattern
        such as ``"big/*.parquet"``, a folder, or a list of these, whose files follow one another by name. Files:
        ``.npy``; ``.fbin .u8bin .i8bin .ibin`` (big-ann-benchmarks); ``.fvecs .bvecs .ivecs`` (TEXMEX);
        ``.parquet .pq``; ``.arrow .arrows .feather .ipc``; ``.zarr``; ``.h5 .hdf5``.
    columns
        Of Parquet and Arrow: one column of lists, or numeric columns. None takes the only column of lists, else all
        columns, which then must be numeric.
    dataset
        Of HDF5 and Zarr groups: the name of the array; None takes the only one in two dimensions.
    fill_missing
        Let Zarr and HDF5 fill chunks that are not there; if not, they are an error, as of a copy that was cut short.
    storage_options
        Handed to fsspec.
    memory
        What work on these rows may take, in bytes or as "2GB" or "512MiB", not counting the system's cache of files.
        None takes a quarter of what is free then. Rows that need more than half of it are streamed.

    Raises
    ------
    InputError, InputTypeError
        Not two-dimensional, empty, not numeric, unknown columns or data set.
    DataError, NotFoundError
        A file that is missing, truncated, of another format, or whose header does not fit its size.
    MissingPackageError
        The file's reader is not installed.
    """
    opened = _open(source, columns, dataset, storage_options, fill_missing=fill_missing)
    if opened.dtype.kind not in _KINDS:
        raise InputTypeError("source", f"dtype {opened.dtype}", "numbers (float, int, uint, bool)")
    if 0 in opened.shape:
        raise InputError("source", f"shape {opened.shape}", "at least one row and one column")
    if opened is not source and not opened.in_memory:
        opened.recipe = {
            "source": _anywhere(source),
            "columns": columns,
            "dataset": dataset,
            "fill_missing": fill_missing,
            "storage_options": storage_options,
        }
    if memory is not None:
        opened.memory = bytes_of(memory)
    return opened


def _open(
    source: Any,
    columns: Sequence[str] | None,
    dataset: str | None,
    storage_options: Mapping[str, Any] | None,
    *,
    fill_missing: bool,
) -> RowSource:
    if isinstance(source, RowSource):
        return source
    if isinstance(source, str | os.PathLike):
        names = [source]
    elif isinstance(source, list | tuple) and source and all(isinstance(one, str | os.PathLike) for one in source):
        names = list(source)
    else:
        return _array(source)
    shards: list[RowSource] = []
    for place in [file for name in names for top in expand(name, storage_options) for file in _files(top)]:
        if place.suffix in raw.SUFFIXES:
            shards.append(raw.open_raw(place))
        elif place.suffix in columnar.SUFFIXES:
            shards.append(columnar.open_columnar(place, columns))
        else:
            shards.append(chunked.open_chunked(place, dataset, fill_missing=fill_missing))
    if len(shards) == 1:
        return shards[0]
    kept = [shard for shard in shards if len(shard)]
    name = os.fspath(names[0]) if len(names) == 1 else f"{os.fspath(names[0])} and {len(names) - 1} more"
    return ShardedRows(kept or shards[:1], name)


def _anywhere(source: Any) -> Any:
    """Paths as a process in another folder would name them."""
    if isinstance(source, list | tuple):
        return [_anywhere(one) for one in source]
    name = os.fspath(source)
    return name if is_url(name) else str(Path(name).absolute())


def holds_rows(name: str | os.PathLike[str]) -> bool:
    """Whether a path, URL or pattern leads to files of rows, and not, say, to images.

    Raises NotFoundError, DataError, MissingPackageError.
    """
    places = expand(name, None)
    if all(place.suffix == ".npy" and place.path is not None and place.path.is_file() for place in places):
        return all(len(read_header(place.name).shape) <= 2 for place in places)
    try:
        return all(_files(place) for place in places)
    except DataError:
        return False


def _files(place: Place) -> list[Place]:
    """The file itself, or those of a folder, searched in depth. Raises DataError."""
    if place.suffix in _SUFFIXES:
        return [place]
    if not place.is_folder():
        raise DataError(f"{place.name}: rows are read from {', '.join(sorted(_SUFFIXES))} and folders of these.")
    found: list[Place] = []
    for child in place.children():
        if child.suffix in _SUFFIXES:
            found.append(child)
        elif child.is_folder():
            found += _files(child)
    if not found:
        raise DataError(f"{place.name}: holds no file of rows ({', '.join(sorted(_SUFFIXES))}).")
    return found


def _array(source: Any) -> RowSource:
    if hasattr(source, "__dlpack__") and not isinstance(source, np.ndarray):
        array = np.from_dlpack(source)
    else:
        array = np.asarray(source)
    if array.dtype.kind not in _KINDS:
        raise InputTypeError("source", f"dtype {array.dtype}", "numbers (float, int, uint, bool)")
    if array.ndim != 2:
        raise InputError("source", f"shape {array.shape}", "two dimensions, [n, d]", "Reshape it to one row an item.")
    return ArrayRows(array)


def bytes_of(memory: int | str) -> int:
    """Bytes of "2GB", "512MiB" or a number. Raises InputError."""
    if isinstance(memory, int) and memory > 0:
        return memory
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]i?|)b?\s*", str(memory).lower())
    try:
        value = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    except ValueError:
        value = 0
    if value <= 0:
        raise InputError("memory", repr(memory), 'bytes, or a text such as "2GB" or "512MiB"')
    return value
