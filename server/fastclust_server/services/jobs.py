"""JobService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from fastclust.errors import InputError, UnsupportedError
from fastclust.v1 import job_pb2, job_pb2_grpc
from fastclust_server import calls, log, names
from fastclust_server.jobs.inputs import Inputs, check_limits
from fastclust_server.jobs.notifier import Watch
from fastclust_server.jobs.records import ENDED, SUCCEEDED, NewJob, encode_job
from fastclust_server.jobs.tasks import TASKS
from fastclust_server.storage.folder import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from fastclust_server.config import Settings
    from fastclust_server.jobs.notifier import Notifier
    from fastclust_server.jobs.records import JobRecord
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.pools import Pools
    from fastclust_server.stalls import Stalls
    from fastclust_server.storage.catalog import Catalog
    from fastclust_server.storage.folder import DataFolder

__all__ = ["JobService"]


class JobService(job_pb2_grpc.JobServiceServicer):
    """Jobs.

    Parameters
    ----------
    changed
        Called when a job was made or asked to stop.
    removed
        Called with the id of a job that is no more.
    """

    def __init__(
        self,
        folder: DataFolder,
        store: JobStore,
        catalog: Catalog,
        notifier: Notifier,
        pools: Pools,
        stalls: Stalls,
        settings: Settings,
        *,
        changed: Callable[[], None],
        removed: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._store = store
        self._catalog = catalog
        self._notifier = notifier
        self._pools = pools
        self._stalls = stalls
        self._settings = settings
        self._changed = changed
        self._removed = removed

    @override
    def CreateJob(self, request: job_pb2.CreateJobRequest, context: grpc.ServicerContext) -> job_pb2.Job:
        """Check a spec and queue it; acknowledged, it survives a crash."""
        call = calls.current()
        record = self._create(call.owner, request)
        log.event("job_created", request=call.request, job=record.name, kind=record.kind, owner=call.owner)
        self._changed()
        return self._encode(record)

    @override
    def GetJob(self, request: job_pb2.GetJobRequest, context: grpc.ServicerContext) -> job_pb2.Job:
        """Show a job as it is now."""
        return self._get(calls.current().owner, names.parse(request.name, "jobs"))

    @override
    def ListJobs(self, request: job_pb2.ListJobsRequest, context: grpc.ServicerContext) -> job_pb2.ListJobsResponse:
        """List jobs, newest first."""
        owner, size = calls.current().owner, names.page_size(request.page_size)
        states, kinds = sorted({int(state) for state in request.states}), sorted(set(request.kinds))
        filters = ("jobs", owner, states, kinds)
        before = names.read_token(request.page_token, *filters)
        found = self._store.page(owner, states=states, kinds=kinds, limit=size, before=before)
        token = names.write_token(found[-1].number, *filters) if len(found) == size else ""
        shown = [self._encode(record) for record in found]
        return job_pb2.ListJobsResponse(jobs=shown, next_page_token=token)

    @override
    def CancelJob(self, request: job_pb2.CancelJobRequest, context: grpc.ServicerContext) -> job_pb2.Job:
        """Ask a job to stop."""
        call, job = calls.current(), names.parse(request.name, "jobs")
        record = self._store.request_cancel(call.owner, job)
        log.event("job_cancel_requested", request=call.request, job=record.name)
        if record.state in ENDED:
            remove_tree(self._folder.work / record.id)
        self._changed()
        return self._encode(record)

    @override
    def DeleteJob(self, request: job_pb2.DeleteJobRequest, context: grpc.ServicerContext) -> job_pb2.DeleteJobResponse:
        """Remove an ended job and its artifacts."""
        call, job = calls.current(), names.parse(request.name, "jobs")
        self._store.delete(call.owner, job)
        self._removed(job)
        self._folder.tidy(job, [])
        log.event("job_deleted", request=call.request, job=request.name)
        return job_pb2.DeleteJobResponse()

    def WatchJob(  # type: ignore[override] # noqa: N802 - gRPC's name, and its form for handlers that hold no thread
        self,
        request: job_pb2.WatchJobRequest,
        context: grpc.ServicerContext,
        send: Callable[[job_pb2.Job | None], None],
    ) -> None:
        """Show a job now, if it changed since, and at each change, until it has ended."""
        call, job = calls.current(), names.parse(request.name, "jobs")
        self._store.get(call.owner, job)  # another owner's job is not watched at all

        def show(record: JobRecord) -> None:
            with self._stalls.watching(context):
                send(self._encode(record))

        def end(reason: BaseException | None) -> None:
            if reason is not None and context.is_active():
                calls.refuse(context, reason, call)
            send(None)

        watch = Watch(request.resume_sequence, show, end, self._pools.watches)
        remove = self._notifier.add(job, watch)
        if not context.add_callback(remove):
            remove()
            return
        watch.put(self._store.get(call.owner, job))

    #: gRPC then calls it with a function that sends, and lets it return before the stream has ended.
    WatchJob.experimental_non_blocking = True  # type: ignore[attr-defined]

    def _create(self, owner: str, request: job_pb2.CreateJobRequest) -> JobRecord:
        names.check_text("display_name", request.display_name, 200)
        names.check_text("request_id", request.request_id, 128)
        kind = request.spec.WhichOneof("kind")
        allowed = ", ".join(TASKS)
        if kind is None:
            raise InputError("spec", "nothing", allowed)
        if kind not in TASKS:
            raise UnsupportedError(f"{kind}: this version of the server runs {allowed}.")
        check_limits(request.spec.limits, self._settings)
        spec = request.spec.SerializeToString(deterministic=True)
        new = NewJob(owner, kind, spec, request.display_name, request.request_id)
        # Before the checks: a repeated request stays one job even when its data set was deleted since.
        found = self._store.find_request(new)
        if found is not None:
            return found
        inputs = Inputs(owner, self._store, self._catalog, self._settings)
        TASKS[kind].check(getattr(request.spec, kind), inputs)
        return self._store.create(
            NewJob(owner, kind, spec, request.display_name, request.request_id, tuple(dict.fromkeys(inputs.used)))
        )

    def _get(self, owner: str, job: str) -> job_pb2.Job:
        return self._encode(self._store.get(owner, job))

    def _encode(self, record: JobRecord) -> job_pb2.Job:
        return encode_job(record, self._store.artifacts(record.id) if record.state == SUCCEEDED else ())
