"""What a task gets: its inputs by name, a folder that stays from attempt to attempt, and a place for results."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.artifacts import load_array, load_model, save_model
from fastclust.data.scratch import scratch
from fastclust.errors import DataLossError
from fastclust.progress import as_part, report
from fastclust_server import names
from fastclust_server.jobs.engine import cluster_of
from fastclust_server.storage.artifacts import ArtifactWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.data import RowSource
    from fastclust.v1 import job_pb2
    from fastclust_server.config import Settings
    from fastclust_server.jobs.records import ArtifactRecord, JobRecord
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.storage.catalog import Catalog, DatasetRecord
    from fastclust_server.storage.folder import DataFolder

__all__ = ["Work"]


class Work:
    """One attempt of one job."""

    def __init__(
        self, folder: DataFolder, store: JobStore, catalog: Catalog, record: JobRecord, settings: Settings
    ) -> None:
        self.settings = settings
        self._data = folder
        self._store = store
        self._catalog = catalog
        self._record = record
        self._out = ArtifactWriter(folder.artifacts, record.id, record.attempt)
        #: Kept for the next attempt; removed when the job has ended.
        self.folder = folder.work / record.id
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.metrics: dict[str, float] = {}
        self.notes: dict[str, str] = {}
        #: The data set that an import made; it exists once the job has succeeded.
        self.imported: DatasetRecord | None = None
        #: Steps as the work itself timed them; None: as they were reported.
        self.steps: Sequence[job_pb2.JobStep] | None = None

    @property
    def seed(self) -> int:
        """The same in each attempt, for work that is to go on where another attempt left it."""
        return int(self._record.id[:8], 16) & 0x7FFFFFFF

    @property
    def owner(self) -> str:
        """Whose job it is."""
        return self._record.owner

    @property
    def display_name(self) -> str:
        """What its owner calls the job; may be empty."""
        return self._record.display_name

    @cached_property
    def cluster(self) -> dict[str, Any] | None:
        """What ``fastclust.distributed`` is told of the operator's cluster; None to compute in this process.

        Asked for before anything is kept: see :func:`cluster_of`. Raises UnavailableError.
        """
        return cluster_of(self.settings, self.folder)

    # In --------------------------------------------------------------------------------------------------------------

    def dataset(self, name: str) -> DatasetRecord:
        """Return the record of a data set."""
        return self._catalog.get_dataset(self._record.owner, names.parse(name, "datasets", "dataset"))

    def path(self, name: str) -> Path:
        """Return the file of a data set: ``.npy`` (tensors, labels), ``.tar`` (images) or ``.csv`` (labels)."""
        return self._data.datasets / self.dataset(name).file

    def datasets_folder(self) -> Path:
        """Where payloads of data sets lie."""
        return self._data.datasets

    def owner_bytes(self) -> int:
        """What the owner keeps already."""
        return self._catalog.owner_bytes(self._record.owner)

    def array(self, name: str) -> NDArray[Any]:
        """Map a TENSOR data set."""
        return load_array(self.path(name), mmap=True)

    def rows(self, name: str) -> RowSource:
        """Open a TENSOR data set in two dimensions; what does not fit in memory stays in its file."""
        from fastclust.data import open_rows

        return open_rows(self.path(name))

    def artifact(self, job: str, key: str) -> Path:
        """Return the file of another job's artifact. Raises DataLossError where it has none with this key."""
        path = self.find_artifact(job, key)
        if path is None:
            raise DataLossError(f"{job} has no artifact {key!r}.")
        return path

    def find_artifact(self, job: str, key: str) -> Path | None:
        """Return the same, or None where the job has none with this key."""
        found = names.parse(job, "jobs", "job")
        self._store.get(self._record.owner, found)
        for record in self._store.artifacts(found):
            if record.key == key:
                return self._data.artifacts / record.file
        return None

    def job(self, name: str) -> JobRecord:
        """Return the record of another job of the same owner."""
        return self._store.get(self._record.owner, names.parse(name, "jobs", "job"))

    # From attempt to attempt -----------------------------------------------------------------------------------------

    @property
    def graph_parts(self) -> Path:
        """Where ``knn_graph`` keeps what it found, for its ``checkpoint``."""
        return self.folder / "graph-parts"

    def once(self, step: str, compute: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Return what ``compute`` gives, or gave in an earlier attempt: it is on disk before this returns."""
        kept = self._kept(step)
        if kept is None:
            report(step, 0, 1)
            with as_part(step, step, 0.0, 1.0):  # what the library reports inside is a part of this step
                kept = self._keep(step, compute())
        report(step, 1, 1)
        return kept

    def in_blocks(
        self, step: str, rows: int, per_block: int, compute: Callable[[slice], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        """Return what ``compute`` gives for ``rows`` rows, joined; each block is kept, so a later attempt goes on.

        Memory is needed for a block and, while it is written, for its copy; what is joined lies in files without a name
        where it is more than 64 MiB an array, so that disk is needed for the result twice.
        """
        if rows <= per_block:
            return compute(slice(0, rows))
        joined: dict[str, NDArray[Any]] = {}
        for start in range(0, rows, per_block):
            report(step, start, rows, f"row {start} of {rows}")
            block, name = slice(start, min(start + per_block, rows)), f"{step}-{start}"
            part = self._kept(name)
            if part is None:
                with as_part(step, step, start / rows, block.stop / rows):
                    part = self._keep(name, compute(block))
            for key, values in part.items():
                if key not in joined:
                    joined[key] = scratch((rows, *values.shape[1:]), values.dtype, self.folder)
                joined[key][block] = values
            del part
        return joined

    def _kept(self, name: str) -> dict[str, NDArray[Any]] | None:
        path = self.folder / f"{name}.safetensors"
        return load_model(path, name)[1] if path.is_file() else None

    def _keep(self, name: str, found: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        save_model(self.folder / f"{name}.safetensors", name, {}, found)
        return found

    # Out -------------------------------------------------------------------------------------------------------------

    def tensor(self, key: str, array: NDArray[Any]) -> None:
        """Leave an array."""
        self._out.tensor(key, array)

    def file(self, source: Path, key: str | None = None) -> None:
        """Leave a copy of a file."""
        self._out.file(source, key)

    def new_file(self, key: str) -> Path:
        """Return the path of a file to be written by the caller, and to be handed to :meth:`written`."""
        return self._out.folder / key

    def written(self, path: Path) -> None:
        """Leave a file that was written to :meth:`new_file`."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._out.written(path)

    def metric(self, **values: Any) -> None:
        """Leave numbers; None and what is not finite is left out."""
        for name, value in values.items():
            if value is not None and np.isfinite(value):
                self.metrics[name] = float(value)

    def note(self, **values: Any) -> None:
        """Leave texts; None is left out."""
        self.notes.update({name: str(value) for name, value in values.items() if value is not None})

    def discard(self) -> None:
        """Remove the payload of an imported data set that will not exist; the rest goes with the ended job."""
        if self.imported is not None:
            (self._data.datasets / self.imported.file).unlink(missing_ok=True)

    def close(self) -> list[ArtifactRecord]:
        """Make the results durable and return the records to publish."""
        return self._out.close()
