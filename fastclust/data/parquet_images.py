"""Images whose files are bytes in a column of a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data.encoded import EncodedImages
from fastclust.errors import DataError, MissingPackageError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "ImageRows", "ParquetImages", "holds_images"]

SUFFIXES = frozenset([".parquet", ".pq"])


def holds_images(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a Parquet file whose column "image" has bytes; false for what cannot be read."""
    if Path(path).suffix not in SUFFIXES or not Path(path).is_file():
        return False
    try:
        import pyarrow.parquet as pq
        from pyarrow import ArrowException
    except ImportError:
        return False
    try:
        schema = pq.read_schema(path)
    except (ArrowException, OSError):
        return False
    return "image" in schema.names and _bytes_of(schema.field("image").type) is not None


class ImageRows:
    """Bytes of image files, one a row, none of them decoded.

    They stand in the column "image": binary, or a struct with a field "bytes", as Hugging Face writes it. Ids are row
    numbers, or the column "id" where it is unique. A column "label" of integers or text gives labels; null and -1 are
    unknown. One row group is in memory at a time. Raises DataError, MissingPackageError.
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
            labelled = self._read("label") if "label" in schema.names else []
        except (ArrowException, OSError) as error:
            raise DataError(f"{path}: is no Parquet file that can be read ({error}).") from error
        self._edges = np.cumsum([0, *counts])
        self.ids = [str(name) for name in named]
        if len(set(self.ids)) != self._edges[-1] or None in named:
            self.ids = [str(row) for row in range(self._edges[-1])]
        #: int64 [n], -1 where unknown, and the name of each number; None where no row has a label.
        self.labels, self.label_names = self._named(labelled)

    def encoded(self, row: int) -> bytes:
        """Return the bytes of a row; none where the row is null."""
        from pyarrow import ArrowException

        group = int(np.searchsorted(self._edges, row, "right")) - 1
        if self._group[0] != group:
            try:
                column = self._file.read_row_group(group, columns=[self._column]).column(0)
            except (ArrowException, OSError) as error:
                raise DataError(f"{self._path}: row group {group} cannot be read ({error}).") from error
            self._group = group, column
        value = self._group[1][row - int(self._edges[group])].as_py()
        data: bytes | None = value.get("bytes") if isinstance(value, dict) else value
        return data or b""

    def _read(self, column: str) -> list[Any]:
        values: list[Any] = self._file.read([column]).column(0).to_pylist()
        return values

    def _named(self, values: list[Any]) -> tuple[NDArray[np.int64] | None, list[str] | None]:
        values = [None if value == -1 else value for value in values]
        kinds = {type(value) for value in values if value is not None}
        if not kinds:
            return None, None
        if kinds not in ({int}, {str}):
            found = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise DataError(f'{self._path}: column "label" holds {found}; allowed: integers or text.')
        known = sorted({value for value in values if value is not None})
        number = {value: place for place, value in enumerate(known)}
        labels = np.array([-1 if value is None else number[value] for value in values], np.int64)
        return labels, [str(value) for value in known]


class ParquetImages(EncodedImages):
    """The rows of :class:`ImageRows` that are images."""

    def __init__(self, path: Path) -> None:
        self._rows = ImageRows(path)
        self._row = {name: row for row, name in enumerate(self._rows.ids)}
        super().__init__(str(path), self._rows.ids)
        labels = self._rows.labels
        self.labels = None if labels is None else labels[[self._row[name] for name in self.ids]]
        self.label_names = self._rows.label_names

    def _bytes(self, name: str) -> bytes:
        data = self._rows.encoded(self._row[name])
        if not data:
            raise DataError(f"row {self._row[name]} has no bytes")
        return data


def _column_of(path: Path, schema: Any) -> str:
    """Return the column to read, as pyarrow names it. Raises DataError."""
    if "image" not in schema.names:
        raise DataError(f'{path}: has columns {", ".join(schema.names)}; allowed: "image" with bytes of image files.')
    kind = schema.field("image").type
    column = _bytes_of(kind)
    if column is None:
        raise DataError(f'{path}: column "image" is {kind}; allowed: binary, or a struct with a binary field "bytes".')
    return column


def _bytes_of(kind: Any) -> str | None:
    """Where the bytes stand, for the type of the column "image"; None where it has none."""
    import pyarrow.types as kinds

    struct = kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0
    held = kind.field("bytes").type if struct else kind
    if not (kinds.is_binary(held) or kinds.is_large_binary(held)):
        return None
    return "image.bytes" if struct else "image"
