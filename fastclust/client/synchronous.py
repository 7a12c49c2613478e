"""The client whose calls block."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Self

import grpc
import numpy as np

from fastclust import wire
from fastclust.client import specs
from fastclust.client.connection import Connection
from fastclust.client.handles import Dataset, Job, JobStatus, status_of
from fastclust.client.payloads import labels_payload, payload_of
from fastclust.client.results import Result
from fastclust.client.transfers import Transfers
from fastclust.errors import InputError, WaitTimeoutError
from fastclust.v1 import (
    common_pb2,
    dataset_pb2,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    online_pb2,
    online_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from fastclust.v1 import spec_pb2

__all__ = ["Client"]

_KINDS = {
    "tensor": common_pb2.DATASET_KIND_TENSOR,
    "images": common_pb2.DATASET_KIND_IMAGES,
    "labels": common_pb2.DATASET_KIND_LABELS,
}


class Client:
    """A connection to a fastclust server; use it as a context manager.

    Parameters
    ----------
    address
        "host:port" or "unix:/path".
    token
        Bearer token, where the server asks for one.
    root_certificates, private_key, certificate_chain
        PEM bytes, for TLS and mutual TLS. None of them: an unencrypted connection.
    connect_timeout
        Seconds to look for a server that has not answered yet.
    reconnect_timeout
        Seconds to look for it again when the connection broke; uploads, downloads and waits go on where they were.
    told
        Called, from the calling thread, with a sentence when the server has been away for a second and is looked for.
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        token: str | None = None,
        root_certificates: bytes | None = None,
        private_key: bytes | None = None,
        certificate_chain: bytes | None = None,
        connect_timeout: float = 5.0,
        reconnect_timeout: float = 60.0,
        told: Callable[[str], None] | None = None,
    ) -> None:
        self.address = address
        self._connection = Connection(
            address,
            token,
            (root_certificates, private_key, certificate_chain),
            connect_timeout,
            reconnect_timeout,
            told,
        )
        self.call = self._connection.call
        channel = self._connection.channel
        self._transfers = Transfers(self._connection)
        self._datasets = dataset_pb2_grpc.DatasetServiceStub(channel)
        self._jobs = job_pb2_grpc.JobServiceStub(channel)
        self._online = online_pb2_grpc.OnlineServiceStub(channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Jobs go on."""
        self._connection.close()

    # Data sets -----------------------------------------------------------------------------------------------------

    def upload(self, source: Any, *, name: str | None = None) -> Dataset:
        """Send an array, a memory map, a ``.npy`` file, a tar of images or a folder of images.

        A broken connection or a restarted server does not matter: the upload goes on from what the server has on disk.

        Raises
        ------
        InputError, InputTypeError
            Empty, NaN or Inf, a dtype without a place on the wire.
        DataError, NotFoundError
            Files that cannot be read.
        StorageFullError, OverloadedError
            The server has no room.
        """
        return Dataset.of(self._transfers.send(payload_of(source, name)))

    def upload_labels(self, labels: Any, *, name: str | None = None) -> Dataset:
        """Send labels: integers ``[n]``, -1 where unknown, a ``.npy`` file of them, or a CSV file "id,label".

        Raises InputError, InputTypeError, DataError, NotFoundError.
        """
        return Dataset.of(self._transfers.send(labels_payload(labels, name)))

    def import_dataset(self, uri: str, *, kind: str = "tensor", name: str = "") -> Job:
        """Have the server read a data set from where it is allowed to: ``file:///path`` or ``https://host/path``.

        ``kind`` is "tensor", "images" (a tar, or Parquet whose column "image" has bytes) or "labels". It runs as a job;
        ``job.dataset()`` is what it made.
        """
        if kind not in _KINDS:
            raise InputError("kind", repr(kind), ", ".join(_KINDS))
        request = dataset_pb2.ImportDatasetRequest(
            uri=uri, kind=_KINDS[kind], display_name=name, request_id=uuid.uuid4().hex
        )
        return Job(self, self.call(self._datasets.ImportDataset, request).name)

    def dataset(self, name: str) -> Dataset:
        """Return a handle of a data set by its name. Raises NotFoundError."""
        return Dataset.of(self.call(self._datasets.GetDataset, dataset_pb2.GetDatasetRequest(name=name)))

    def datasets(self) -> list[Dataset]:
        """List the data sets, newest first."""
        pages = self._pages(self._datasets.ListDatasets, dataset_pb2.ListDatasetsRequest())
        return [Dataset.of(found) for page in pages for found in page.datasets]

    def delete_dataset(self, dataset: Dataset | str) -> None:
        """Remove a data set that no unfinished job reads."""
        self.call(self._datasets.DeleteDataset, dataset_pb2.DeleteDatasetRequest(name=_name(dataset)))

    # Jobs ----------------------------------------------------------------------------------------------------------

    def kmeans(self, data: Dataset | str, **params: Any) -> Job:
        """Submit k-means with the parameters of :class:`fastclust.KMeans`: labels, cluster_centers, inertia."""
        return self.submit(specs.kmeans(_name(data), **_names(params)))

    def mahalanobis(self, data: Dataset | str, **params: Any) -> Job:
        """Submit the fit of a metric and, with ``output=``, distances in it; matrices are data sets."""
        return self.submit(specs.mahalanobis(_name(data), **_names(params)))

    def neighbors(self, data: Dataset | str, **params: Any) -> Job:
        """Submit a neighbour search with the parameters of :func:`fastclust.knn_graph`: indices, distances."""
        return self.submit(specs.neighbors(_name(data), **_names(params)))

    def tsne(self, data: Dataset | Job | str, **params: Any) -> Job:
        """Submit a map with the parameters of :class:`fastclust.TSNE`: embedding, kl_divergence."""
        return self.submit(specs.tsne(_name(data), **_names(params)))

    def train(self, data: Dataset | str, **params: Any) -> Job:
        """Submit training with the parameters of :class:`fastclust.SelfTaughtLearner`: embedding and the model."""
        return self.submit(specs.train(_name(data), **_names(params)))

    def embed(self, data: Dataset | str, model: Job | str, **params: Any) -> Job:
        """Submit a data set to the model of a finished job: embedding."""
        return self.submit(specs.embed(_name(data), model=_name(model), **_names(params)))

    def evaluate(self, source: Job | Dataset | str, **params: Any) -> Job:
        """Submit the measures of :mod:`fastclust.evaluation` of a finished job, or of embeddings: ``result.metrics``.

        ``labels=`` is a data set of labels; ``measures=`` are some of accuracy, nmi, ari, recall_at_1, map_at_r and
        silhouette.
        """
        return self.submit(specs.evaluate(_name(source), **_names(params)))

    def insight(self, job: Job | str, **params: Any) -> Job:
        """Submit the analyses of :mod:`fastclust.insight` of a finished kmeans or pipeline job.

        ``analyses=`` are some of near_duplicates (duplicate_rows, duplicate_groups), outliers (outlier_scores,
        outlier_p_values) and representatives.
        """
        return self.submit(specs.insight(_name(job), **_names(params)))

    def choose_k(self, source: Job | Dataset | str, **params: Any) -> Job:
        """Submit the choice of a number of clusters with the parameters of :func:`fastclust.insight.choose_k`.

        ``source`` is a data set, or a finished train, embed, pipeline or kmeans job, whose rows are looked at in the
        metric of its clusters. ``result.k`` is the choice; ks, silhouette, calinski_harabasz, stability and inertia
        are the curve.
        """
        return self.submit(specs.choose_k(_name(source), **_names(params)))

    def propagate_labels(self, source: Job | Dataset | str, labels: Dataset | str, **params: Any) -> Job:
        """Submit labels of some rows to be spread to all: labels (-1 where none leads to), confidence.

        ``source`` is a data set, whose graph is made first, or a finished neighbors job; ``labels`` a data set of
        integers ``[n]``, -1 where unknown; the parameters are those of :func:`fastclust.insight.propagate_labels`, and
        ``metric=`` of a data set. Raises InputError for labels that do not fit, NotFoundError.
        """
        return self.submit(specs.propagate_labels(_name(source), labels=_name(labels), **_names(params)))

    def pipeline(self, data: Dataset | str, **params: Any) -> Job:
        """Submit the whole run with the parameters of :func:`fastclust.run`: everything and report.html."""
        return self.submit(specs.pipeline(_name(data), **_names(params)))

    def submit(self, spec: spec_pb2.JobSpec, *, name: str = "", request_id: str | None = None) -> Job:
        """Submit a spec. The same ``request_id`` twice is one job."""
        request = job_pb2.CreateJobRequest(spec=spec, display_name=name, request_id=request_id or uuid.uuid4().hex)
        return Job(self, self.call(self._jobs.CreateJob, request).name)

    def job(self, name: str) -> Job:
        """Return a handle of a job by its name, from any process. Raises NotFoundError."""
        return Job(self, self.fetch_job(name).name)

    def jobs(self) -> list[JobStatus]:
        """List the jobs, newest first."""
        pages = self._pages(self._jobs.ListJobs, job_pb2.ListJobsRequest())
        return [status_of(job) for page in pages for job in page.jobs]

    # Online --------------------------------------------------------------------------------------------------------

    def assign(
        self, model: Job | str, rows: Any, *, return_distances: bool = False, timeout: float | None = None
    ) -> Any:
        """Ask a finished kmeans or pipeline job for the clusters of a few rows: int32 ``[rows]``.

        With ``return_distances`` also the distances to their centres: ``(labels, distances)``. Calls of many callers
        are answered together; rows and answer may take 16 MiB. Of a pipeline, ``rows`` are rows of its embedding.

        Raises
        ------
        OverloadedError
            Too many calls wait; ``retry_after`` says when to come back.
        WaitTimeoutError
            ``timeout`` seconds were not enough.
        """
        request = online_pb2.AssignRequest(
            model=_name(model), rows=_encoded(rows, "rows"), return_distances=return_distances
        )
        found = self.call(self._online.Assign, request, timeout)
        labels = wire.decode(found.labels, "labels")
        return (labels, wire.decode(found.distances, "distances")) if return_distances else labels

    def search(
        self, model: Job | str, rows: Any, n_neighbors: int = 15, *, timeout: float | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Ask a finished neighbors or pipeline job for the rows nearest to ``rows`` ``[rows, d]``.

        Returns ``(distances, indices)``, float32 and int64 ``[rows, k]``. Raises what :meth:`assign` raises, and
        InputError for rows of another width.
        """
        request = online_pb2.SearchRequest(model=_name(model), rows=_encoded(rows, "rows"), n_neighbors=n_neighbors)
        found = self.call(self._online.Search, request, timeout)
        return wire.decode(found.distances, "distances"), wire.decode(found.indices, "indices")

    def transform(self, model: Job | str, source: Any, *, timeout: float | None = None) -> NDArray[Any]:
        """Send a few rows, or encoded images (a list of bytes), through the model of a finished train or pipeline job.

        Returns the embedding, float32 ``[rows, embedding_dim]``. For whole data sets see :meth:`embed`.
        """
        request = online_pb2.EmbedRequest(model=_name(model))
        if isinstance(source, list | tuple) and source and isinstance(source[0], bytes):
            request.images.files.extend(source)
        else:
            request.rows.CopyFrom(_encoded(source, "rows"))
        return wire.decode(self.call(self._online.Embed, request, timeout).embedding, "embedding")

    def distances(
        self,
        model: Job | str,
        rows: Any,
        others: Any = None,
        *,
        squared: bool = False,
        timeout: float | None = None,
    ) -> NDArray[Any]:
        """Ask for distances in the metric of a finished mahalanobis job.

        ``[rows, others]``, or ``[rows]`` to the mean of what the metric was fitted to where ``others`` is None (to the
        origin, for a metric that was given and not fitted), in the rows' dtype. Raises what :meth:`assign` raises, and
        InputError for rows of another width.
        """
        request = online_pb2.MahalanobisRequest(model=_name(model), rows=_encoded(rows, "rows"), squared=squared)
        if others is not None:
            request.others.CopyFrom(_encoded(others, "others"))
        return wire.decode(self.call(self._online.Mahalanobis, request, timeout).distances, "distances")

    # What handles use ----------------------------------------------------------------------------------------------

    def fetch_job(self, name: str) -> job_pb2.Job:
        """Return the server's message about a job."""
        job: job_pb2.Job = self.call(self._jobs.GetJob, job_pb2.GetJobRequest(name=name))
        return job

    def cancel_job(self, name: str) -> None:
        """Ask a job to stop."""
        self.call(self._jobs.CancelJob, job_pb2.CancelJobRequest(name=name))

    def delete_job(self, name: str) -> None:
        """Remove an ended job."""
        self.call(self._jobs.DeleteJob, job_pb2.DeleteJobRequest(name=name))

    def watch_job(self, name: str, timeout: float | None) -> Iterator[job_pb2.Job]:
        """Yield messages about a job until it has ended, across broken connections."""
        until = None if timeout is None else time.monotonic() + timeout
        sequence = -1
        retry = self._connection.retry()
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            request = job_pb2.WatchJobRequest(name=name, resume_sequence=max(sequence, 0))
            try:
                for job in self._jobs.WatchJob(request, timeout=left, metadata=self._connection.metadata):
                    retry = self._connection.worked()
                    sequence = job.sequence
                    yield job
                    if job.state in (
                        job_pb2.JOB_STATE_SUCCEEDED,
                        job_pb2.JOB_STATE_FAILED,
                        job_pb2.JOB_STATE_CANCELLED,
                    ):
                        return
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and until is not None:
                    raise WaitTimeoutError(f"{name} has not ended after {timeout:g} s; it goes on.") from None
                retry.wait(error)

    def result_of(self, job: job_pb2.Job) -> Result:
        """Return the results of a job that succeeded."""
        artifacts = {artifact.key: artifact for artifact in job.artifacts}
        return Result(job.name, artifacts, job.metrics, job.notes, self._transfers.download)

    # ---------------------------------------------------------------------------------------------------------------

    def _pages(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        while True:
            page = self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _encoded(rows: Any, field: str) -> common_pb2.Tensor:
    array = np.asarray(rows)
    if array.ndim == 1 and array.size:
        raise InputError(field, f"shape {array.shape}", "[rows, columns]", "One row is array[None, :].")
    return wire.encode(array, field)


def _name(thing: Dataset | Job | str) -> str:
    return thing if isinstance(thing, str) else thing.name


def _names(params: dict[str, Any]) -> dict[str, Any]:
    """Handles among parameters become their names."""
    return {key: value.name if isinstance(value, Dataset | Job) else value for key, value in params.items()}
