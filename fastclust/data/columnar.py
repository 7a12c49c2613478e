"""Parquet and Arrow IPC: rows are one column of lists of one length, or the numeric columns side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data.source import RowSource
from fastclust.errors import DataError, InputError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastclust.data.places import Place

__all__ = ["SUFFIXES", "open_columnar"]

_PARQUET = (".parquet", ".pq")
#: Bytes that are read of a chunk at once where its first row is looked at.
_GLANCE = 1 << 16
SUFFIXES = frozenset([*_PARQUET, ".arrow", ".arrows", ".feather", ".ipc"])
_LONGEST = 1 << 24


def open_columnar(place: Place, columns: Sequence[str] | None) -> RowSource:
    """Open a file by its suffix. Raises DataError, NotFoundError, MissingPackageError."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingPackageError(f'{place.name}: needs pyarrow. Run: pip install "fastclust[files]"') from error
    place.size()
    try:
        if place.suffix in _PARQUET:
            return _Parquet(place, columns)
        return _Batches(place, columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place.name}: not a readable {place.suffix} file ({str(error).splitlines()[0]}).") from error


class _Columns:
    """Which columns make a row, and how a record batch becomes an array."""

    def __init__(self, name: str, schema: Any, asked: Sequence[str] | None) -> None:
        import pyarrow.types as kinds

        self._file = name
        fields = {field.name: field.type for field in schema}
        unknown = sorted(set(asked or ()) - set(fields))
        if unknown:
            raise InputError("columns", unknown[0], f"columns of {name}: {', '.join(fields)}")
        chosen = list(asked) if asked else list(fields)
        lists = [
            key for key in chosen if kinds.is_fixed_size_list(fields[key]) or kinds.is_list(fields[key])
            or kinds.is_large_list(fields[key])
        ]  # fmt: skip
        numbers = [key for key in chosen if _numeric(fields[key])]
        if len(lists) > 1 or (lists and asked and len(chosen) > 1):
            raise InputError("columns", f"several columns of lists in {name}: {', '.join(lists)}", "one of them")
        other = [key for key in chosen if key not in lists and key not in numbers]
        if not lists and (other or not numbers):
            what = f"columns that are no numbers: {', '.join(other[:5])}" if other else "no columns"
            raise InputError(
                "columns", f"{what}, in {name}", f"names of numeric columns: {', '.join(numbers) or 'none'}"
            )
        self.names = lists or numbers
        self._list = bool(lists)
        if self._list:
            kind = fields[lists[0]]
            if not _numeric(kind.value_type):
                raise InputError("columns", f"{lists[0]} of {kind}", "lists of numbers")
            self.dtype = np.dtype(kind.value_type.to_pandas_dtype())
            self.width = kind.list_size if kinds.is_fixed_size_list(kind) else -1
        else:
            self.dtype = np.result_type(*(np.dtype(fields[key].to_pandas_dtype()) for key in numbers))
            self.width = len(numbers)

    def learn_width(self, batch: Any) -> None:
        """Take the length of lists of a variable kind from the first one."""
        if self.width < 0:
            first = batch.column(self.names[0])[0].as_py()
            if not first:
                raise DataError(f"{self._file}: column {self.names[0]} begins with an empty list.")
            self.width = len(first)

    def rows(self, batch: Any, start: int) -> NDArray[Any]:
        """Rows ``[n, d]`` of a record batch whose first row has the number ``start``."""
        n = batch.num_rows
        parts = [batch.column(batch.schema.get_field_index(name)) for name in self.names]
        for name, part in zip(self.names, parts, strict=True):
            if part.null_count:
                raise DataError(f"{self._file}: column {name} has {part.null_count} nulls from row {start} on.")
        if not self._list:
            out = np.empty((n, self.width), self.dtype)
            for place, part in enumerate(parts):
                out[:, place] = part.to_numpy(zero_copy_only=False)
            return out
        values = parts[0].flatten()
        if len(values) != n * self.width or self._uneven(parts[0]):
            raise DataError(
                f"{self._file}: column {self.names[0]} has lists of another length than {self.width} after row {start}."
            )
        if values.null_count:
            raise DataError(f"{self._file}: column {self.names[0]} has nulls in its lists from row {start} on.")
        flat: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return flat.reshape(n, self.width)

    def _uneven(self, part: Any) -> bool:
        return hasattr(part, "offsets") and bool((np.diff(part.offsets.to_numpy()) != self.width).any())


def _numeric(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_integer(kind) or kinds.is_floating(kind))


class _Parquet(RowSource):
    def __init__(self, place: Place, columns: Sequence[str] | None) -> None:
        import pyarrow.parquet as pq

        self._place = place
        file = self._opened()
        self._metadata = file.metadata
        if file.metadata.num_rows < 0:
            raise DataError(f"{place.name}: says {file.metadata.num_rows} rows.")
        self._columns = _Columns(place.name, file.schema_arrow, columns)
        counts = self._check(place.size())
        self._edges = np.cumsum([0, *counts]).astype(np.int64)
        n = int(self._edges[-1])
        if n and self._columns.width < 0:
            self._columns.learn_width(next(file.iter_batches(1, columns=self._columns.names)))
        if not 0 <= self._columns.width <= _LONGEST and n:
            raise DataError(f"{place.name}: rows of {self._columns.width} numbers.")
        super().__init__((n, max(self._columns.width, 0)), self._columns.dtype, place.name)
        del pq

    def _opened(self, **options: Any) -> Any:
        import pyarrow.parquet as pq

        options["metadata"] = getattr(self, "_metadata", None)
        if self._place.path is not None:
            return pq.ParquetFile(self._place.path, memory_map=True, **options)
        return pq.ParquetFile(self._place.open(), **options)

    def _leaves(self) -> list[int]:
        """Numbers of the file's columns that ours are made of."""
        schema = self._metadata.schema
        roots = [schema.column(place).path.split(".")[0] for place in range(len(schema))]
        return [
            place for place, root in enumerate(roots) if root in {name.split(".")[0] for name in self._columns.names}
        ]

    def _check(self, size: int) -> list[int]:
        """Rows of each group; every chunk of bytes must lie inside the file."""
        counts = []
        leaves = self._leaves()
        # Where what stands of a chunk in the file is damaged, pyarrow 26 ends the process when it is asked for it from
        # Python; a read of the same chunk, here of one row, is an error.
        file = self._opened(buffer_size=_GLANCE)
        for number in range(self._metadata.num_row_groups):
            group = self._metadata.row_group(number)
            counts.append(group.num_rows)
            next(file.iter_batches(1, row_groups=[number], columns=self._columns.names, use_threads=False), None)
            for place in leaves:
                chunk = group.column(place)
                first = chunk.data_page_offset
                if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
                    first = min(first, chunk.dictionary_page_offset)
                if first < 0 or chunk.total_compressed_size < 0 or first + chunk.total_compressed_size > size:
                    raise DataError(f"{self._place.name}: row group {number} ends beyond the file, which is cut short.")
                if chunk.num_values < group.num_rows:
                    raise DataError(
                        f"{self._place.name}: row group {number} says {group.num_rows} rows and holds "
                        f"{chunk.num_values} values of {chunk.path_in_schema}."
                    )
        if sum(counts) != self._metadata.num_rows or min(counts, default=0) < 0:
            raise DataError(f"{self._place.name}: says {self._metadata.num_rows} rows; its groups hold {sum(counts)}.")
        return counts

    def edges(self) -> NDArray[np.int64]:
        return self._edges

    def pieces(self, start: int, stop: int, most: int) -> Iterator[NDArray[Any]]:
        import pyarrow as pa

        groups = np.flatnonzero((self._edges[1:] > start) & (self._edges[:-1] < stop))
        if start >= stop:
            return
        at = int(self._edges[groups[0]])
        try:
            # On one thread: another one computes meanwhile.
            batches = self._opened().iter_batches(
                most, row_groups=groups.tolist(), columns=self._columns.names, use_threads=False
            )
            for batch in batches:
                end = at + batch.num_rows
                if end > start and at < stop:
                    low, high = max(start, at), min(stop, end)
                    yield self._columns.rows(batch.slice(low - at, high - low), low)
                at = end
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.name}: cannot be read from row {at} on ({str(error).splitlines()[0]}).") from error


class _Batches(RowSource):
    """Arrow IPC: the file format, and the stream format that is read from its beginning."""

    def __init__(self, place: Place, columns: Sequence[str] | None) -> None:
        self._place = place
        self._is_file = place.bytes(0, 6) == b"ARROW1"
        counts: list[int] = []
        self._columns: _Columns | None = None
        for batch in self._batches(0):
            if self._columns is None:
                self._columns = _Columns(place.name, batch.schema, columns)
            if batch.num_rows:
                self._columns.learn_width(batch)
            counts.append(batch.num_rows)
        if self._columns is None:
            raise DataError(f"{place.name}: holds no record batch.")
        self._edges = np.cumsum([0, *counts]).astype(np.int64)
        width = self._columns.width
        if not 0 <= width <= _LONGEST and self._edges[-1]:
            raise DataError(f"{place.name}: rows of {width} numbers.")
        super().__init__((int(self._edges[-1]), max(width, 0)), self._columns.dtype, place.name)

    def _source(self) -> Any:
        import pyarrow as pa

        return pa.memory_map(str(self._place.path)) if self._place.path is not None else self._place.open()

    def _batches(self, first: int) -> Iterator[Any]:
        """Record batches from number ``first`` on; of a mapped file that is not compressed, nothing is copied."""
        import pyarrow as pa

        if self._is_file:
            reader = pa.ipc.open_file(self._source())
            for number in range(first, reader.num_record_batches):
                yield reader.get_batch(number)
        else:
            for number, batch in enumerate(pa.ipc.open_stream(self._source())):
                if number >= first:
                    yield batch

    def edges(self) -> NDArray[np.int64]:
        return self._edges

    def pieces(self, start: int, stop: int, most: int) -> Iterator[NDArray[Any]]:
        import pyarrow as pa

        if start >= stop:
            return
        assert self._columns is not None
        first = int(np.searchsorted(self._edges, start, "right")) - 1
        at = int(self._edges[first])
        try:
            for batch in self._batches(first):
                end = at + batch.num_rows
                for low in range(max(start, at), min(stop, end), most):
                    high = min(low + most, stop, end)
                    yield self._columns.rows(batch.slice(low - at, high - low), low)
                at = end
                if at >= stop:
                    return
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.name}: cannot be read from row {at} on ({str(error).splitlines()[0]}).") from error
