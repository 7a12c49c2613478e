"""Models of finished jobs, loaded from their artifacts, the least recently used ones forgotten."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.artifacts import load_array
from fastclust.errors import NotFoundError, PreconditionError
from fastclust.v1 import spec_pb2
from fastclust_server import names
from fastclust_server.jobs.records import SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastclust_server.jobs.records import JobRecord
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.storage.catalog import Catalog
    from fastclust_server.storage.folder import DataFolder

__all__ = ["KINDS", "Loaded", "Models"]

#: Kinds of jobs that each method asks.
KINDS = {
    "Assign": ("kmeans", "pipeline"),
    "Search": ("neighbors", "pipeline"),
    "Embed": ("train", "pipeline"),
    "Mahalanobis": ("mahalanobis",),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready."""

    record: JobRecord
    model: Any
    #: Columns of the rows that it takes; 0: it says so itself.
    columns: int
    #: Rows that can be found.
    rows: int
    nbytes: int


class Models:
    """An LRU of models, by job and method. Loading happens in threads of its own."""

    def __init__(self, folder: DataFolder, store: JobStore, catalog: Catalog, most_bytes: int) -> None:
        self._folder = folder
        self._store = store
        self._catalog = catalog
        self._most = most_bytes
        # Reentrant: a load that is over at once trims within the call that began it.
        self._guard = threading.RLock()
        self._kept: OrderedDict[tuple[str, str], Future[Loaded]] = OrderedDict()
        self._loaders = ThreadPoolExecutor(2, "loader")

    def get(self, owner: str, job: str, method: str) -> Future[Loaded]:
        """Return the model of a job for a method, ready or on its way.

        Its result raises NotFoundError, PreconditionError or InputError where there is none for this owner.
        """
        key = (job, method)
        with self._guard:
            found = self._kept.get(key)
            if found is not None and not _broken(found):
                self._kept.move_to_end(key)
                return _checked(found, owner, job)
        try:
            record = self._find(owner, job, method)
        except Exception as error:  # noqa: BLE001 - it becomes the call's status
            return _failed(error)
        with self._guard:
            again = self._kept.get(key)
            if again is None or _broken(again):
                again = self._kept[key] = self._loaders.submit(self._load, record, method)
                again.add_done_callback(lambda _done: self._trim())
            return again

    def forget(self, job: str) -> None:
        """Drop what a deleted job left."""
        with self._guard:
            for key in [key for key in self._kept if key[0] == job]:
                del self._kept[key]

    def _find(self, owner: str, job: str, method: str) -> JobRecord:
        record = self._store.get(owner, job)
        if record.kind not in KINDS[method]:
            raise PreconditionError(
                f"{record.name} is a {record.kind} job; {method} asks {' or '.join(KINDS[method])}."
            )
        if record.state != SUCCEEDED:
            raise PreconditionError(f"{record.name} has no model: it has not succeeded.")
        return record

    def _trim(self) -> None:
        with self._guard:
            for key in [key for key, one in self._kept.items() if _broken(one)]:
                del self._kept[key]
            total = sum(one.result().nbytes for one in self._kept.values() if one.done())
            for key in [key for key, one in self._kept.items() if one.done()][:-1]:
                if total <= self._most:
                    return
                total -= self._kept.pop(key).result().nbytes

    # Loading ---------------------------------------------------------------------------------------------------------

    def _load(self, record: JobRecord, method: str) -> Loaded:
        load: Callable[[JobRecord], Loaded] = getattr(self, f"_load_{method.lower()}")
        return load(record)

    def _artifact(self, record: JobRecord, key: str) -> Path:
        for artifact in self._store.artifacts(record.id):
            if artifact.key == key:
                return self._folder.artifacts / artifact.file
        raise PreconditionError(f"{record.name} left no {key!r}, so it has no model for this.")

    def _load_assign(self, record: JobRecord) -> Loaded:
        from fastclust.cluster import KMeans

        model = KMeans.load(self._artifact(record, "kmeans.safetensors"))
        model.__dict__.pop("labels_", None)  # of the rows that it was fitted to: not asked for here
        centers = model.cluster_centers_
        for rows in (centers[:1].copy(), np.frombuffer(centers[:1].tobytes(), centers.dtype).reshape(1, -1)):
            model.predict_checked(rows)  # compiles now, for rows of a batch and those of one call, which are read-only
        return Loaded(record, model, centers.shape[1], len(centers), 2 * centers.nbytes)

    def _load_embed(self, record: JobRecord) -> Loaded:
        from fastclust.learning import SelfTaughtLearner

        path = self._artifact(record, "learner.safetensors")
        return Loaded(record, SelfTaughtLearner.load(path), 0, 0, path.stat().st_size)

    def _load_mahalanobis(self, record: JobRecord) -> Loaded:
        from fastclust.metric import MahalanobisMetric

        metric = MahalanobisMetric.load(self._artifact(record, "metric.safetensors"))
        return Loaded(record, metric, metric.components_.shape[1], 0, 2 * metric.components_.nbytes)

    def _load_search(self, record: JobRecord) -> Loaded:
        from fastclust.neighbors import NeighborIndex

        if record.kind == "pipeline":
            rows, metric, index = load_array(self._artifact(record, "embedding")), "euclidean", "auto"
        else:
            spec = spec_pb2.JobSpec.FromString(record.spec).neighbors
            try:
                data = self._catalog.get_dataset(record.owner, names.parse(spec.dataset, "datasets"))
            except NotFoundError as error:
                raise PreconditionError(f"{record.name}: the data set that it searched was deleted.") from error
            rows = load_array(self._folder.datasets / data.file)
            metric, index = self._metric(record, spec), record.notes.get("index", "auto")
        model = NeighborIndex(metric, index).fit(rows)
        model.kneighbors(rows[:1], 1)
        return Loaded(record, model, rows.shape[1], len(rows), 3 * rows.nbytes)

    def _metric(self, record: JobRecord, spec: spec_pb2.NeighborsSpec) -> Any:
        if spec.metric.WhichOneof("kind") != "model":
            return spec.metric.name or "euclidean"
        from fastclust.metric import MahalanobisMetric

        fitted = self._store.get(record.owner, names.parse(spec.metric.model, "jobs"))
        return MahalanobisMetric.load(self._artifact(fitted, "metric.safetensors"))


def _broken(one: Future[Loaded]) -> bool:
    return one.done() and one.exception() is not None


def _failed(error: BaseException) -> Future[Loaded]:
    failed: Future[Loaded] = Future()
    failed.set_exception(error)
    return failed


def _checked(pending: Future[Loaded], owner: str, job: str) -> Future[Loaded]:
    """A model that was asked for before, by anybody: the owner is compared as soon as it is there."""
    if pending.done() and pending.exception() is None and pending.result().record.owner == owner:
        return pending  # as nearly always: a future of its own would take longer than all else here
    checked: Future[Loaded] = Future()

    def done(one: Future[Loaded]) -> None:
        error = one.exception()
        if error is not None:
            checked.set_exception(error)
        elif one.result().record.owner != owner:
            checked.set_exception(NotFoundError(f"jobs/{job}: no such job."))
        else:
            checked.set_result(one.result())

    pending.add_done_callback(done)
    return checked
