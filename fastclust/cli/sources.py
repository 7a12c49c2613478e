"""Files of rows as the command line names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fastclust.data import RowSource

__all__ = ["Columns", "DatasetName", "Memory", "Sources", "large_files", "open_files"]

Sources = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders, patterns or URLs of rows (.npy, .fbin, .fvecs, .parquet, .arrow, .zarr, .h5, ...); "
        "or a folder, .tar or .parquet of images, an IDX file, digits, fashion-mnist."
    ),
]
Columns = Annotated[str | None, typer.Option(help="Of Parquet and Arrow: columns, by commas.")]
DatasetName = Annotated[str | None, typer.Option("--dataset", help="Of HDF5 and Zarr: the name of the array.")]
Memory = Annotated[
    str | None,
    typer.Option(help='What may be taken, such as "2GB"; by each worker of a cluster; a quarter of what is free.'),
]


def open_files(
    sources: list[str], columns: str | None = None, dataset: str | None = None, memory: str | None = None
) -> RowSource | None:
    """Open files of rows; None where the one source is something else, such as images.

    A Parquet file with images beside its rows is one of images unless columns are named.

    Raises DataError, InputError, NotFoundError, MissingPackageError.
    """
    from fastclust.data import open_rows
    from fastclust.data.builtin import NAMES
    from fastclust.data.parquet_images import holds_images
    from fastclust.data.rows import holds_rows

    if len(sources) == 1 and (sources[0] in NAMES or not holds_rows(sources[0])):
        return None
    if len(sources) == 1 and columns is None and holds_images(sources[0]):
        return None
    return open_rows(
        sources[0] if len(sources) == 1 else sources,
        columns=columns.split(",") if columns else None,
        dataset=dataset,
        memory=memory,
    )


def large_files(sources: list[str], columns: str | None, dataset: str | None, memory: str | None) -> RowSource | None:
    """Open files whose results are written in parts: several, too large for memory, or of formats for such.

    None for one ``.npy`` file that fits, and for what is no file of rows. Raises as :func:`open_files`.
    """
    from fastclust.data.limits import is_streamed

    rows = open_files(sources, columns, dataset, memory)
    if rows is None or (len(sources) == 1 and sources[0].endswith(".npy") and not is_streamed(rows)):
        return None
    return rows
