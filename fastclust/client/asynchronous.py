"""The client for asyncio: the same calls, awaited. Each runs in a thread: disk and network never hold the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from fastclust.client.synchronous import Client

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator
    from pathlib import Path
    from types import TracebackType

    from fastclust.client.handles import Dataset, Job, JobStatus
    from fastclust.client.results import Result

__all__ = ["AsyncClient", "AsyncJob"]


class AsyncJob:
    """A job on the server, for asyncio; see :class:`fastclust.client.Job`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.name = job.name

    def __repr__(self) -> str:
        return f"<AsyncJob {self.name}>"

    async def progress(self) -> JobStatus:
        """Ask how far the job is."""
        return await asyncio.to_thread(self._job.progress)

    async def done(self) -> bool:
        """Whether the job has ended."""
        return await asyncio.to_thread(self._job.done)

    async def cancel(self) -> None:
        """Ask the job to stop; returns at once."""
        await asyncio.to_thread(self._job.cancel)

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
        return AsyncJob(await asyncio.to_thread(self._client.kmeans, data, **params))

    async def mahalanobis(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.mahalanobis`."""
        return AsyncJob(await asyncio.to_thread(self._client.mahalanobis, data, **params))

    async def neighbors(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.neighbors`."""
        return AsyncJob(await asyncio.to_thread(self._client.neighbors, data, **params))

    async def tsne(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.tsne`."""
        return AsyncJob(await asyncio.to_thread(self._client.tsne, data, **params))

    async def train(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.train`."""
        return AsyncJob(await asyncio.to_thread(self._client.train, data, **params))

    async def embed(self, data: Dataset | str, model: str, **params: Any) -> AsyncJob:
        """See :meth:`Client.embed`."""
        return AsyncJob(await asyncio.to_thread(self._client.embed, data, model, **params))

    async def evaluate(self, source: AsyncJob | Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.evaluate`."""
        return AsyncJob(await asyncio.to_thread(self._client.evaluate, _name(source), **params))

    async def insight(self, job: AsyncJob | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.insight`."""
        return AsyncJob(await asyncio.to_thread(self._client.insight, _name(job), **params))

    async def choose_k(self, source: AsyncJob | Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.choose_k`."""
        return AsyncJob(await asyncio.to_thread(self._client.choose_k, _name(source), **params))

    async def propagate_labels(
        self, source: AsyncJob | Dataset | str, labels: Dataset | str, **params: Any
    ) -> AsyncJob:
        """See :meth:`Client.propagate_labels`: labels are integers ``[n]``; the same errors, InputError first."""
        return AsyncJob(await asyncio.to_thread(self._client.propagate_labels, _name(source), labels, **params))

    async def pipeline(self, data: Dataset | str, **params: Any) -> AsyncJob:
        """See :meth:`Client.pipeline`."""
        return AsyncJob(await asyncio.to_thread(self._client.pipeline, data, **params))

    async def assign(self, model: AsyncJob | str, rows: Any, **options: Any) -> Any:
        """See :meth:`Client.assign`: int32 ``[rows]`` of ``rows`` ``[rows, d]``; the same errors, InputError first."""
        return await asyncio.to_thread(self._client.assign, _name(model), rows, **options)

    async def search(self, model: AsyncJob | str, rows: Any, n_neighbors: int = 15, **options: Any) -> Any:
        """See :meth:`Client.search`: distances and int64 indices ``[rows, k]``; the same errors, InputError first."""
        return await asyncio.to_thread(self._client.search, _name(model), rows, n_neighbors, **options)

    async def transform(self, model: AsyncJob | str, source: Any, **options: Any) -> Any:
        """See :meth:`Client.transform`."""
        return await asyncio.to_thread(self._client.transform, _name(model), source, **options)

    async def distances(self, model: AsyncJob | str, rows: Any, others: Any = None, **options: Any) -> Any:
        """See :meth:`Client.distances`: ``[rows, others]`` in the rows' dtype; the same errors, InputError first."""
        return await asyncio.to_thread(self._client.distances, _name(model), rows, others, **options)

    async def import_dataset(self, uri: str, **options: Any) -> AsyncJob:
        """See :meth:`Client.import_dataset`."""
        return AsyncJob(await asyncio.to_thread(self._client.import_dataset, uri, **options))

    async def job(self, name: str) -> AsyncJob:
        """See :meth:`Client.job`."""
        return AsyncJob(await asyncio.to_thread(self._client.job, name))

    async def jobs(self) -> list[JobStatus]:
        """See :meth:`Client.jobs`."""
        return await asyncio.to_thread(self._client.jobs)


def _name(model: AsyncJob | Dataset | str) -> str:
    return model if isinstance(model, str) else model.name
