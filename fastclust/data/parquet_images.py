"""Images whose files are bytes in a column of a Parquet file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data.encoded import EncodedImages
from fastclust.errors import DataError, MissingPackageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ParquetImages"]


class ParquetImages(EncodedImages):
    """Image files as bytes in the column "image"; ids are row numbers, or the column "id" where it is unique.

    The column is binary, or a struct with a field "bytes", as Hugging Face writes it. A column "label" of integers or
    text gives labels; null is unknown (-1). One row group is in memory at a time.
    """

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow.parquet as pq
            from pyarrow import ArrowException
        except ImportError as error:
            raise MissingPackageError(f'{path.name}: needs pyarrow. Run: pip install "fastclust[files]"') from error
        self._path = path
        #: The row group that was read last, and its column.
        self._group: tuple[int, Any] = (-1, None)
        try:
            self._file = pq.ParquetFile(path)
            schema = self._file.schema_arrow
            self._column = _column_of(path, schema)
            groups = self._file.metadata.num_row_groups
            counts = [self._file.metadata.row_group(group).num_rows for group in range(groups)]
            named = self._read("id") if "id" in schema.names else []
            labelled = self._read("label") if "label" in schema.names else None
        except (ArrowException, OSError) as error:
            raise DataError(f"{path}: is no Parquet file that can be read ({error}).") from error
        self._edges = np.cumsum([0, *counts])
        names = [str(name) for name in named]
        if len(set(names)) != self._edges[-1] or None in named:
            names = [str(row) for row in range(self._edges[-1])]
        self._row = {name: row for row, name in enumerate(names)}
        super().__init__(str(path), names)
        self.labels, self.label_names = None, None
        if labelled is not None:
            self._name_labels([labelled[self._row[name]] for name in self.ids])

    def _read(self, column: str) -> list[Any]:
        values: list[Any] = self._file.read([column]).column(0).to_pylist()
        return values

    def _name_labels(self, values: list[Any]) -> None:
        kinds = {type(value) for value in values if value is not None}
        if not kinds:
            return
        if kinds not in ({int}, {str}):
            found = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise DataError(f'{self._path}: column "label" holds {found}; allowed: integers or text.')
        known = sorted({value for value in values if value is not None})
        number = {value: place for place, value in enumerate(known)}
        self.labels = np.array([-1 if value is None else number[value] for value in values], np.int64)
        self.label_names = [str(value) for value in known]

    def _bytes(self, name: str) -> bytes:
        row = self._row[name]
        group = int(np.searchsorted(self._edges, row, "right")) - 1
        if self._group[0] != group:
            column = self._file.read_row_group(group, columns=[self._column]).column(0)
            self._group = group, column
        value = self._group[1][row - int(self._edges[group])].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None:
            raise DataError(f"row {row} has no bytes")
        found: bytes = data
        return found


def _column_of(path: Path, schema: Any) -> str:
    """Return the column to read, as pyarrow names it. Raises DataError."""
    import pyarrow.types as kinds

    if "image" not in schema.names:
        raise DataError(f'{path}: has columns {", ".join(schema.names)}; allowed: "image" with bytes of image files.')
    kind = schema.field("image").type
    struct = kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0
    held = kind.field("bytes").type if struct else kind
    if not (kinds.is_binary(held) or kinds.is_large_binary(held)):
        raise DataError(f'{path}: column "image" is {kind}; allowed: binary, or a struct with a binary field "bytes".')
    return "image.bytes" if struct else "image"
