"""JobService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from fastclust.errors import InputError, UnsupportedError
from fastclust.v1 import job_pb2, job_pb2_grpc
from fastclust_server import calls, log, names
from fastclust_server.jobs.inputs import Inputs
from fastclust_server.jobs.records import ENDED, SUCCEEDED, NewJob, encode_job
from fastclust_server.jobs.tasks import TASKS
from fastclust_server.storage.folder import remove_tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpc import aio

    from fastclust_server.jobs.notifier import Notifier
    from fastclust_server.jobs.records import JobRecord
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.jobs.supervisor import Supervisor
    from fastclust_server.storage.catalog import Catalog
    from fastclust_server.storage.folder import DataFolder
    from fastclust_server.threads import Threads

    Context = aio.ServicerContext[Any, Any]

__all__ = ["JobService"]


class JobService(job_pb2_grpc.JobServiceServicer):
    """Jobs."""

    def __init__(
        self,
        folder: DataFolder,
        store: JobStore,
        catalog: Catalog,
        supervisor: Supervisor,
        notifier: Notifier,
        threads: Threads,
    ) -> None:
        self._folder = folder
        self._store = store
        self._catalog = catalog
        self._supervisor = supervisor
        self._notifier = notifier
        self._threads = threads

    @override
    async def CreateJob(self, request: job_pb2.CreateJobRequest, context: Context) -> job_pb2.Job:
        """Check a spec and queue it; acknowledged, it survives a crash."""
        call = calls.current()
        record = await self._threads.store(self._create, call.owner, request)
        log.event("job_created", request=call.request, job=record.name, kind=record.kind, owner=call.owner)
        self._changed()
        return await self._threads.store(self._encode, record)

    @override
    async def GetJob(self, request: job_pb2.GetJobRequest, context: Context) -> job_pb2.Job:
        """Show a job as it is now."""
        return await self._threads.store(self._get, calls.current().owner, names.parse(request.name, "jobs"))

    @override
    async def ListJobs(self, request: job_pb2.ListJobsRequest, context: Context) -> job_pb2.ListJobsResponse:
        """List jobs, newest first."""
        owner, size = calls.current().owner, names.page_size(request.page_size)
        states, kinds = sorted({int(state) for state in request.states}), sorted(set(request.kinds))
        filters = ("jobs", owner, states, kinds)
        before = names.read_token(request.page_token, *filters)
        found = await self._threads.store(
            self._store.page, owner, states=states, kinds=kinds, limit=size, before=before
        )
        token = names.write_token(found[-1].number, *filters) if len(found) == size else ""
        shown = await self._threads.store(lambda: [self._encode(record) for record in found])
        return job_pb2.ListJobsResponse(jobs=shown, next_page_token=token)

    @override
    async def CancelJob(self, request: job_pb2.CancelJobRequest, context: Context) -> job_pb2.Job:
        """Ask a job to stop."""
        call, job = calls.current(), names.parse(request.name, "jobs")
        record = await self._threads.store(self._store.request_cancel, call.owner, job)
        log.event("job_cancel_requested", request=call.request, job=record.name)
        if record.state in ENDED:
            await self._threads.disk(remove_tree, self._folder.work / record.id)
        self._changed()
        return await self._threads.store(self._encode, record)

    @override
    async def DeleteJob(self, request: job_pb2.DeleteJobRequest, context: Context) -> job_pb2.DeleteJobResponse:
        """Remove an ended job and its artifacts."""
        call, job = calls.current(), names.parse(request.name, "jobs")
        await self._threads.store(self._store.delete, call.owner, job)
        await self._threads.disk(self._folder.tidy, job, [])
        log.event("job_deleted", request=call.request, job=request.name)
        return job_pb2.DeleteJobResponse()

    @override
    async def WatchJob(self, request: job_pb2.WatchJobRequest, context: Context) -> AsyncIterator[job_pb2.Job]:
        """Show a job now, if it changed since, and at each change, until it has ended."""
        owner, job, seen = calls.current().owner, names.parse(request.name, "jobs"), request.resume_sequence
        with self._notifier.watching(job) as watch:
            record = await self._threads.store(self._store.get, owner, job)
            while True:
                if record.sequence > seen:
                    yield await self._threads.store(self._encode, record)
                    seen = record.sequence
                if record.state in ENDED:
                    return
                record = await watch.newer_than(max(seen, record.sequence))

    def _create(self, owner: str, request: job_pb2.CreateJobRequest) -> JobRecord:
        names.check_text("display_name", request.display_name, 200)
        names.check_text("request_id", request.request_id, 128)
        kind = request.spec.WhichOneof("kind")
        allowed = ", ".join(TASKS)
        if kind is None:
            raise InputError("spec", "nothing", allowed)
        if kind not in TASKS:
            raise UnsupportedError(f"{kind}: this version of the server runs {allowed}.")
        if request.spec.limits.HasField("memory_bytes") or request.spec.limits.HasField("run_time"):
            raise UnsupportedError("limits: this version of the server does not enforce them; leave them out.")
        spec = request.spec.SerializeToString(deterministic=True)
        new = NewJob(owner, kind, spec, request.display_name, request.request_id)
        # Before the checks: a repeated request stays one job even when its data set was deleted since.
        found = self._store.find_request(new)
        if found is not None:
            return found
        inputs = Inputs(owner, self._store, self._catalog)
        TASKS[kind].check(getattr(request.spec, kind), inputs)
        return self._store.create(
            NewJob(owner, kind, spec, request.display_name, request.request_id, tuple(dict.fromkeys(inputs.used)))
        )

    def _get(self, owner: str, job: str) -> job_pb2.Job:
        return self._encode(self._store.get(owner, job))

    def _encode(self, record: JobRecord) -> job_pb2.Job:
        return encode_job(record, self._store.artifacts(record.id) if record.state == SUCCEEDED else ())

    def _changed(self) -> None:
        self._supervisor.wake()
        self._notifier.wake()
