"""Results for each row of a source, written as Parquet, a file for each of its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress
from fastclust.artifacts import load_json, replacing, save_json
from fastclust.data.source import Part, RowSource
from fastclust.errors import PreconditionError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["MOST", "ResultFolder", "Work", "write_part", "write_results"]

#: Rows of a result file at most: what is done again after a kill.
MOST = 1 << 20
_ABOUT = "_about.json"


class ResultFolder:
    """Files of results, in the order of the rows; each appears whole or not at all.

    Parameters
    ----------
    folder
        Made if it is not there.
    source
        Whose rows the results belong to.
    what
        Anything that says what is computed, such as a hash of the model. A folder that holds results of another source
        or of something else is refused.
    most
        Rows of a file at most; a file of the source with more gets several.

    Raises
    ------
    PreconditionError
        The folder holds other results.
    """

    def __init__(self, folder: str | os.PathLike[str], source: RowSource, what: str, *, most: int = MOST) -> None:
        self.folder = Path(folder)
        self.parts: list[tuple[Path, Part]] = []
        for part in source.parts:
            stem = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(part.name).stem) or "rows"
            for start in range(part.start, part.stop, most):
                file = self.folder / f"part-{len(self.parts):05d}-{stem}.parquet"
                self.parts.append((file, Part(part.name, start, min(part.stop, start + most))))
        about = {"source": source.identity(), "what": what, "rows": len(source), "most": most}
        known = self.folder / _ABOUT
        if known.exists():
            if load_json(known) != about:
                raise PreconditionError(
                    f"{self.folder}: holds results of another source or model. Take another folder, or remove it."
                )
        else:
            save_json(known, about)

    def missing(self) -> list[tuple[Path, Part]]:
        """What is not written yet."""
        return [(file, part) for file, part in self.parts if not file.exists()]


class Work(NamedTuple):
    """Results that are to be written, as :func:`write_results` takes them."""

    folder: ResultFolder
    source: RowSource
    compute: Callable[[NDArray[Any], int], Mapping[str, NDArray[Any]]]
    block: int

    def write(self) -> list[Path]:
        """Write what is missing; return all files."""
        return write_results(self.folder, self.source, self.compute, block=self.block)


def write_results(
    folder: ResultFolder,
    source: RowSource,
    compute: Callable[[NDArray[Any], int], Mapping[str, NDArray[Any]]],
    *,
    block: int,
    step: str = "write",
) -> list[Path]:
    """Compute columns for all rows, block by block, and write what is missing: a file ``row, <columns>`` a part.

    ``compute`` maps rows ``[b, d]`` and the number of the first one to columns ``[b]`` or ``[b, m]``; the latter become
    lists of m numbers. Killed and called again, it goes on with the first file that is not there.
    """
    done = len(source) - sum(part.stop - part.start for _, part in folder.missing())
    for file, part in folder.missing():
        for count in write_part(file, part, source, compute, block=block):
            done += count
            progress.report(step, done, len(source), f"{done} of {len(source)} rows")
    return [file for file, _ in folder.parts]


def write_part(
    file: Path,
    part: Part,
    source: RowSource,
    compute: Callable[[NDArray[Any], int], Mapping[str, NDArray[Any]]],
    *,
    block: int,
) -> Iterator[int]:
    """Write one file of :func:`write_results`, and yield how many rows each block had; whole once it is exhausted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(file) as temporary:
        writer: Any = None
        at = part.start
        try:
            for rows in source.blocks(block, start=part.start, stop=part.stop):
                columns = {"row": pa.array(np.arange(at, at + len(rows)))}
                columns |= {name: _column(values) for name, values in compute(rows, at).items()}
                table = pa.table(columns)
                writer = writer or pq.ParquetWriter(temporary, table.schema)
                writer.write_table(table)
                at += len(rows)
                yield len(rows)
        finally:
            if writer is not None:
                writer.close()


def _column(values: NDArray[Any]) -> Any:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])
