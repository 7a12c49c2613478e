"""The client for asyncio: the same calls, awaited. Each runs in a thread: disk and network never hold the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from fastclust.client.synchronous import Client

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from types import TracebackType

    from fastclust.client.handles import Dataset, Job, JobStatus
    from fastclust.client.results import Result
    from fastclust.v1 import spec_pb2

__all__ = ["AsyncClient", "AsyncJob"]


class AsyncJob:
    """A job on the server, for asyncio; see :class:`fastclust.client.Job`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.name = job.name

    def __repr__(self) -> str:
        return f"<AsyncJob {self.name}>"

    @property
    def address(self) -> str:
        """The server's, as the client was given it."""
        return self._job.address

    async def progress(self) -> JobStatus:
        """Ask how far the job is."""
        return await asyncio.to_thread(self._job.progress)

    async def state(self) -> str:
        """queued, running, succeeded, failed or cancelled, now."""
        return (await self.progress()).state

    async def attempt(self) -> int:
        """1 in the first attempt, 2 after the job lost its worker once, ..."""
        return (await self.progress()).attempt

    async def done(self) -> bool:
        """Whether the job has ended."""
        return await asyncio.to_thread(self._job.done)

    async def cancel(self) -> None:
        """Ask the job to stop; returns at once."""
        await asyncio.to_thread(self._job.cancel)

    async def delete(self) -> None:
        """Remove the job, once it has ended, and its results."""
        await asyncio.to_thread(self._job.delete)

    async def wait(self, timeout: float | None = None) -> JobStatus:  # noqa: ASYNC109 - as the sync one
        """Wait until the job has ended; see :meth:`fastclust.client.Job.wait`."""
        return await asyncio.to_thread(self._job.wait, timeout)

    async def watch(self, timeout: float | None = None) -> AsyncIterator[JobStatus]:  # noqa: ASYNC109 - as the sync one
        """Yield the job's state now and at each change, until it has ended."""
        states = self._job.watch(timeout)
        end = object()
        while (state := await asyncio.to_thread(next, states, end)) is not end:
            yield state  # type: ignore[misc]

    async def dataset(self, timeout: float | None = None) -> Dataset:  # noqa: ASYNC109 - as the sync one
        """Wait for the end of an import; see :meth:`fastclust.client.Job.dataset`."""
        return await asyncio.to_thread(self._job.dataset, timeout)

    async def result(self, timeout: float | None = None) -> Result:  # noqa: ASYNC109 - as the sync one
        """Wait for the end and return the results; see :meth:`fastclust.client.Job.result`."""
        return await asyncio.to_thread(self._job.result, timeout)

    async def download(self, folder: str | os.PathLike[str], timeout: float | None = None) -> list[Path]:  # noqa: ASYNC109
        """Wait for the end and write the results into ``folder``."""
        return await asyncio.to_thread(self._job.download, folder, timeout)


class AsyncClient:
    """A connection to a fastclust server, for asyncio; parameters of :class:`fastclust.client.Client`."""

    def __init__(self, address: str = "localhost:50051", **options: Any) -> None:
        self._client = Client(address, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Jobs go on."""
        await asyncio.to_thread(self._client.close)

    async def upload(self, source: Any, *, name: str | None = None) -> Dataset:
        """See :meth:`Client.upload`."""
        return await asyncio.to_thread(self._client.upload, source, name=name)

    async def upload_labels(self, labels: Any, *, name: str | None = None) -> Dataset:
        """See :meth:`Client.upload_labels`: integers ``[n]``, or a file; the same errors, InputError first."""
        return await asyncio.to_thread(self._client.upload_labels, labels, name=name)

    async def kmeans(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.kmeans`."""
        return await self._submitted(self._client.kmeans, data, **params)

    async def mahalanobis(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.mahalanobis`."""
        return await self._submitted(self._client.mahalanobis, data, **params)

    async def neighbors(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.neighbors`."""
        return await self._submitted(self._client.neighbors, data, **params)

    async def tsne(self, data: Dataset | AsyncJob | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.tsne`."""
        return await self._submitted(self._client.tsne, data, **params)

    async def train(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.train`."""
        return await self._submitted(self._client.train, data, **params)

    async def embed(self, data: Dataset | str, model: AsyncJob | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.embed`."""
        return await self._submitted(self._client.embed, data, model, **params)

    async def evaluate(self, source: AsyncJob | Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.evaluate`."""
        return await self._submitted(self._client.evaluate, source, **params)

    async def insight(self, job: AsyncJob | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.insight`."""
        return await self._submitted(self._client.insight, job, **params)

    async def choose_k(self, source: AsyncJob | Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.choose_k`."""
        return await self._submitted(self._client.choose_k, source, **params)

    async def propagate_labels(
        self, source: AsyncJob | Dataset | str, labels: Dataset | str, **params: Any
    ) -> AsyncJob:
        """See :meth:`Client.propagate_labels`: labels are integers ``[n]``; the same errors, InputError first."""
        return await self._submitted(self._client.propagate_labels, source, labels, **params)

    async def pipeline(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.pipeline`."""
        return await self._submitted(self._client.pipeline, data, **params)

    async def assign(self, model: AsyncJob | str, rows: Any, **options: Any) -> Any:
        """See :meth:`Client.assign`: int32 ``[rows]`` of ``rows`` ``[rows, d]``; the same errors, InputError first."""
        return await asyncio.to_thread(self._client.assign, _named(model), rows, **options)

    async def search(self, model: AsyncJob | str, rows: Any, n_neighbors: int = 15, **options: Any) -> Any:
        """See :meth:`Client.search`: distances and int64 indices ``[rows, k]``; the same errors, InputError first."""
        return await asyncio.to_thread(self._client.search, _named(model), rows, n_neighbors, **options)

    async def transform(self, model: AsyncJob | str, source: Any, **options: Any) -> Any:
        """See :meth:`Client.transform`."""
        return await asyncio.to_thread(self._client.transform, _named(model), source, **options)

    async def distances(self, model: AsyncJob | str, rows: Any, others: Any = None, **options: Any) -> Any:
        """See :meth:`Client.distances`: ``[rows, others]`` in the rows' dtype; the same errors, InputError first."""
        return await asyncio.to_thread(self._client.distances, _named(model), rows, others, **options)

    async def import_dataset(self, uri: str, **options: Any) -> AsyncJob:
        """See :meth:`Client.import_dataset`."""
        return await self._submitted(self._client.import_dataset, uri, **options)

    async def dataset(self, name: str) -> Dataset:
        """See :meth:`Client.dataset`."""
        return await asyncio.to_thread(self._client.dataset, name)

    async def datasets(self) -> list[Dataset]:
        """See :meth:`Client.datasets`."""
        return await asyncio.to_thread(self._client.datasets)

    async def delete_dataset(self, dataset: Dataset | str) -> None:
        """See :meth:`Client.delete_dataset`."""
        await asyncio.to_thread(self._client.delete_dataset, dataset)

    async def submit(self, spec: spec_pb2.JobSpec, *, name: str = "", request_id: str | None = None) -> AsyncJob:
        """See :meth:`Client.submit`."""
        return await self._submitted(self._client.submit, spec, name=name, request_id=request_id)

    async def job(self, name: str) -> AsyncJob:
        """See :meth:`Client.job`."""
        return AsyncJob(await asyncio.to_thread(self._client.job, name))

    async def jobs(self) -> list[JobStatus]:
        """See :meth:`Client.jobs`."""
        return await asyncio.to_thread(self._client.jobs)

    async def _submitted(self, submit: Callable[..., Job], *given: Any, **params: Any) -> AsyncJob:
        """Call what makes a job; handles of jobs, also among the parameters, are handed on by their names."""
        named = {key: _named(value) for key, value in params.items()}
        return AsyncJob(await asyncio.to_thread(submit, *map(_named, given), **named))


def _named(thing: Any) -> Any:
    return thing.name if isinstance(thing, AsyncJob) else thing
