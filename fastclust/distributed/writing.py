"""Labels and embeddings of all rows, written by the workers of a cluster: a file is a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastclust import progress
from fastclust.cluster.writing import assignment
from fastclust.data import open_rows
from fastclust.data.mapping import mapping
from fastclust.data.results import write_part
from fastclust.distributed.pool import check_workers, nodes, open_workers, received
from fastclust.distributed.threads import limited

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from fastclust.cluster.base import Centers
    from fastclust.data.results import Work
    from fastclust.data.source import Part

__all__ = ["predict_to", "transform_to"]

#: Rows of a file at most: what is done again where a worker is lost.
_MOST = 1 << 18


class _Writer:
    """Writes files of results."""

    def __init__(self, threads: int | None) -> None:
        self._threads = threads

    def write(self, work: Any, file: Path, part: Part) -> int:
        """Write one file whole; return how many rows it has."""
        task: Work = received(work)
        with limited(self._threads):
            return sum(write_part(file, part, task.source, task.compute, block=task.block))


def predict_to(
    model: Centers,
    X: Any,
    folder: str | os.PathLike[str],
    *,
    address: str | None = None,
    n_workers: int | str = "auto",
    threads: int | None = None,
) -> list[Path]:
    """Write what ``model.predict_to(X, folder)`` does, by workers; ``folder`` must be the same one on all nodes.

    Parameters
    ----------
    model
        Fitted :class:`fastclust.KMeans` or another with centres.
    X
        Rows ``[n, d]`` that all nodes can read: of :func:`fastclust.open_rows`.
    address, n_workers, threads
        As for :class:`fastclust.distributed.KMeans`.

    Raises
    ------
    InputError
        ``n_workers`` or ``threads`` is no integer of at least 1; rows of another width.
    PreconditionError
        The folder holds other results.
    MissingPackageError, UnavailableError
        As :meth:`fastclust.distributed.KMeans.fit`.
    """
    check_workers(n_workers, threads)
    source = open_rows(X)
    centers, space, backend = model.inner(source.shape[1])
    work = assignment(source, folder, centers=centers, space=space, backend=backend, most=_MOST)
    return _write(work, address, n_workers, threads)


def transform_to(
    model: Any,
    X: Any,
    folder: str | os.PathLike[str],
    *,
    address: str | None = None,
    n_workers: int | str = "auto",
    threads: int | None = None,
) -> list[Path]:
    """Write what ``model.transform_to(X, folder)`` does, by workers; as :func:`predict_to`.

    ``model`` is a fitted SelfTaughtLearner, PCA or MahalanobisMetric, ``X`` rows ``[n, d]``. Raises InputError,
    PreconditionError, MissingPackageError, UnavailableError.
    """
    check_workers(n_workers, threads)
    return _write(mapping(open_rows(X), folder, *model.mapped(), most=_MOST), address, n_workers, threads)


def _write(work: Work, address: str | None, n_workers: int | str, threads: int | None) -> list[Path]:
    missing = work.folder.missing()
    if missing:
        many = min(len(missing), nodes(address) if n_workers == "auto" else int(n_workers))
        workers = open_workers(_Writer, [(threads,)] * many, address)
        try:
            shared = workers.share(work)
            done, total = len(work.source) - sum(part.stop - part.start for _, part in missing), len(work.source)
            for _, rows in workers.spread("write", [(shared, file.absolute(), part) for file, part in missing]):
                done += rows
                progress.report("write", done, total, f"{done} of {total} rows")
        finally:
            workers.close()
    return [file for file, _ in work.folder.parts]
