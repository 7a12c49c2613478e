"""Durable jobs as rows. Each change of a row takes the next number of one counter, its ``sequence``.

A worker's writes name its claim (job, worker, attempt): once the job was given to another, they change nothing and
raise :class:`LostClaimError`.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from fastclust.errors import NotFoundError, OverloadedError, PreconditionError
from fastclust_server import names
from fastclust_server.database import artifacts, counters, datasets, jobs
from fastclust_server.jobs.records import (
    ACTIVE,
    CANCELLED,
    ENDED,
    FAILED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    ArtifactRecord,
    Claim,
    JobRecord,
    NewJob,
)
from fastclust_server.jobs.rows import (
    NO_WORKER,
    LostClaimError,
    active_reader,
    change,
    find_one,
    find_request,
    get_owned,
    held,
    must_hold,
    next_in_turn,
    next_sequence,
    put_back,
    served,
    spec_digest,
)
from fastclust_server.storage.quota import must_fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastclust_server.database import Database
    from fastclust_server.storage.catalog import DatasetRecord

__all__ = ["LEASE_SECONDS", "JobStore", "LostClaimError"]

#: How long a claim lasts if nobody renews it; a supervisor renews it while the worker lives.
LEASE_SECONDS = 30.0
#: More ids than this are not put into one statement.
_FEW = 500


class JobStore:
    """Jobs and their artifacts on one database. Every method is one transaction."""

    def __init__(self, database: Database, *, max_queued: int = 10_000, owner_jobs: int = 1_000) -> None:
        self._database = database
        self._max_queued = max_queued
        self._owner_jobs = owner_jobs

    # What callers of the API do: always within one owner. ------------------------------------------------------------

    def create(self, new: NewJob) -> JobRecord:
        """Queue a job. The same request id of the same owner again returns the job that it made.

        Raises
        ------
        AlreadyExistsError
            The request id belongs to a job with another spec.
        NotFoundError
            A data set that it reads was deleted meanwhile.
        OverloadedError
            The queue is full.
        """
        try:
            with self._database.write() as connection:
                return find_request(connection, new) or self._insert(connection, new)
        except sa.exc.IntegrityError:
            # Another server on the same database was first with this request id.
            with self._database.read() as connection:
                found = find_request(connection, new)
            if found is None:
                raise
            return found

    def find_request(self, new: NewJob) -> JobRecord | None:
        """Return the job that this request id made before. Raises AlreadyExistsError if it asked for another."""
        with self._database.read() as connection:
            return find_request(connection, new)

    def get(self, owner: str, job: str) -> JobRecord:
        """Return one job. Raises NotFoundError, for another owner's too."""
        with self._database.read() as connection:
            return get_owned(connection, owner, job)

    def page(
        self,
        owner: str,
        *,
        states: Sequence[int] = (),
        kinds: Sequence[str] = (),
        limit: int = 100,
        before: int | None = None,
    ) -> list[JobRecord]:
        """Return jobs, newest first, beginning before number ``before``."""
        query = sa.select(jobs).where(jobs.c.owner == owner).order_by(jobs.c.number.desc()).limit(limit)
        if states:
            query = query.where(jobs.c.state.in_(states))
        if kinds:
            query = query.where(jobs.c.kind.in_(kinds))
        if before is not None:
            query = query.where(jobs.c.number < before)
        with self._database.read() as connection:
            return [JobRecord.from_row(row) for row in connection.execute(query).mappings()]

    def artifacts(self, job: str) -> list[ArtifactRecord]:
        """Return the artifacts of a job that succeeded, in order."""
        query = sa.select(artifacts).where(artifacts.c.job == job).order_by(artifacts.c.position)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [ArtifactRecord(**{name: row[name] for name in ArtifactRecord.__slots__}) for row in rows]

    def request_cancel(self, owner: str, job: str) -> JobRecord:
        """Ask a job to stop: a queued one is cancelled at once, a running one soon, an ended one stays as it is."""
        now = time.time()
        with self._database.write() as connection:
            record = get_owned(connection, owner, job)
            if record.state == QUEUED:
                values = {"state": CANCELLED, "cancel_requested": now, "ended": now, **NO_WORKER}
                return change(connection, jobs.c.id == job, values) or record
            if record.state == RUNNING and record.cancel_requested is None:
                return change(connection, jobs.c.id == job, {"cancel_requested": now}) or record
            return record

    def delete(self, owner: str, job: str) -> None:
        """Remove an ended job and its artifacts' rows; the caller removes the files after it."""
        with self._database.write() as connection:
            record = get_owned(connection, owner, job)
            if record.state not in ENDED:
                raise PreconditionError(f"{record.name} has not ended. Cancel it first.")
            reader = active_reader(connection, owner, record.name)
            if reader is not None:
                raise PreconditionError(f"{record.name} is read by {reader}, which has not ended.")
            connection.execute(sa.delete(artifacts).where(artifacts.c.job == job))
            connection.execute(sa.delete(jobs).where(jobs.c.id == job))

    # What watchers do. -----------------------------------------------------------------------------------------------

    def sequence(self) -> int:
        """Return the number of the last change."""
        with self._database.read() as connection:
            query = sa.select(counters.c.value).where(counters.c.name == "jobs")
            return int(connection.execute(query).scalar_one())

    def changed_since(self, sequence: int, only: Sequence[str] | None = None) -> list[JobRecord]:
        """Return those of the jobs ``only`` (None: all) that changed after ``sequence``, as they are now, in order."""
        query = sa.select(jobs).where(jobs.c.sequence > sequence).order_by(jobs.c.sequence)
        wanted = None if only is None else set(only)
        if wanted is not None and len(wanted) <= _FEW:
            query = query.where(jobs.c.id.in_(wanted))
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [JobRecord.from_row(row) for row in rows if wanted is None or row["id"] in wanted]

    # What workers do. ------------------------------------------------------------------------------------------------

    def claim(self, worker: str, server: str, lease_seconds: float) -> JobRecord | None:
        """Take a queued job, if there is one; its attempt begins. Owners take turns, each with his oldest job."""
        now = time.time()
        values = {
            "state": RUNNING,
            "attempt": jobs.c.attempt + 1,
            "server": server,
            "worker": worker,
            "lease_until": now + lease_seconds,
            "started": now,
            "progress": b"",
        }
        with self._database.read() as connection:
            if connection.execute(sa.select(jobs.c.number).where(jobs.c.state == QUEUED).limit(1)).first() is None:
                return None  # an idle worker looks often, and must not take the write lock for it
        with self._database.write() as connection:
            number = next_in_turn(connection)
            if number is None:
                return None
            record = change(connection, jobs.c.number == number, values)
            if record is not None:
                served(connection, record.owner, record.sequence)
            return record

    def heartbeat(self, claim: Claim, progress: bytes | None) -> bool:
        """Store progress, if there is new, and return whether the job was asked to stop. Raises LostClaimError."""
        if progress is None:
            with self._database.read() as connection:
                row = connection.execute(sa.select(jobs.c.cancel_requested).where(held(claim))).first()
                if row is None:
                    raise LostClaimError(f"jobs/{claim.job} is no longer ours.")
                return row.cancel_requested is not None
        with self._database.write() as connection:
            return (
                must_hold(change(connection, held(claim), {"progress": progress}), claim).cancel_requested is not None
            )

    def complete(
        self,
        claim: Claim,
        *,
        artifacts_: Sequence[ArtifactRecord],
        metrics: Mapping[str, float],
        notes: Mapping[str, str],
        progress: bytes,
        dataset: DatasetRecord | None = None,
        owner_bytes: int = 2**62,
    ) -> JobRecord:
        """Publish the result: from here on the artifacts, and an import's data set, exist.

        Raises
        ------
        LostClaimError
            The job is no longer this worker's.
        OverloadedError
            With the data set its owner would keep more than ``owner_bytes``: others may have come while it was read.
        """
        values = {
            "state": SUCCEEDED,
            "ended": time.time(),
            "metrics": json.dumps(dict(metrics)),
            "notes": json.dumps(dict(notes)),
            "progress": progress,
            "dataset": None if dataset is None else dataset.id,
            **NO_WORKER,
        }
        with self._database.write() as connection:
            record = must_hold(change(connection, held(claim), values), claim)
            rows = [
                {"job": claim.job, "position": place, **{name: getattr(item, name) for name in item.__slots__}}
                for place, item in enumerate(artifacts_)
            ]
            if rows:
                connection.execute(sa.insert(artifacts), rows)
            if dataset is not None:
                must_fit(connection, dataset.owner, dataset.byte_count, owner_bytes, "data set")
                row = {name: getattr(dataset, name) for name in dataset.__slots__ if name != "number"}
                connection.execute(sa.insert(datasets).values(row))
            return record

    def fail(self, claim: Claim, error: bytes) -> JobRecord:
        """End the job as failed. Raises LostClaimError."""
        return self._end(claim, {"state": FAILED, "error": error})

    def cancelled(self, claim: Claim) -> JobRecord:
        """End the job as cancelled. Raises LostClaimError."""
        return self._end(claim, {"state": CANCELLED})

    def release(self, claim: Claim) -> None:
        """Put the job back because its server shuts down; this attempt does not count against ``max_attempts``."""
        with self._database.write() as connection:
            record = find_one(connection, held(claim))
            if record is not None:
                put_back(connection, record, counts=False)

    # What supervisors do. --------------------------------------------------------------------------------------------

    def running(self, worker: str) -> JobRecord | None:
        """Return the job that ``worker`` is at."""
        with self._database.read() as connection:
            return find_one(connection, sa.and_(jobs.c.worker == worker, jobs.c.state == RUNNING))

    def renew(self, worker: str, lease_seconds: float) -> None:
        """Extend the lease of a worker that is alive; no change that a watcher would see."""
        held = sa.and_(jobs.c.worker == worker, jobs.c.state == RUNNING)
        with self._database.write() as connection:
            connection.execute(sa.update(jobs).where(held).values(lease_until=time.time() + lease_seconds))

    def abandon(self, worker: str, *, counts: bool = True) -> list[JobRecord]:
        """Put back, fail or cancel what a worker that is dead held; ``counts``: whether it is to blame for that."""
        return self._put_back_all(sa.and_(jobs.c.worker == worker, jobs.c.state == RUNNING), counts=counts)

    def recover(self, server: str) -> list[JobRecord]:
        """Put back what runs under any other server: for a data folder that ``server`` alone has locked."""
        return self._put_back_all(sa.and_(jobs.c.state == RUNNING, jobs.c.server != server), counts=True)

    def reap(self, server: str) -> list[JobRecord]:
        """Put back what runs under any other server on this database, and has a lease that ran out.

        Not under ``server`` itself: that one knows whether its worker lives, even after the machine slept.
        """
        expired = sa.and_(jobs.c.state == RUNNING, jobs.c.server != server, jobs.c.lease_until < time.time())
        return self._put_back_all(expired, counts=True)

    def queued(self) -> int:
        """Return how many jobs wait."""
        with self._database.read() as connection:
            query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state == QUEUED)
            return int(connection.execute(query).scalar_one())

    def ended_before(self, moment: float, limit: int = 1000) -> list[tuple[str, str]]:
        """Return (owner, id) of jobs that ended before ``moment``, in seconds since 1970."""
        query = sa.select(jobs.c.owner, jobs.c.id).where(jobs.c.state.in_(ENDED), jobs.c.ended < moment)
        with self._database.read() as connection:
            return [(row.owner, row.id) for row in connection.execute(query.order_by(jobs.c.number).limit(limit))]

    def unfinished(self) -> set[str]:
        """Return ids of jobs that are queued or running."""
        with self._database.read() as connection:
            return set(connection.execute(sa.select(jobs.c.id).where(jobs.c.state.in_(ACTIVE))).scalars())

    def published(self) -> set[str]:
        """Return places, under the artifacts folder, of all files that count."""
        with self._database.read() as connection:
            return set(connection.execute(sa.select(artifacts.c.file)).scalars())

    # -----------------------------------------------------------------------------------------------------------------

    def _insert(self, connection: sa.Connection, new: NewJob) -> JobRecord:
        waiting = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state == QUEUED)
        if connection.execute(waiting).scalar_one() >= self._max_queued:
            raise OverloadedError(f"{self._max_queued} jobs are waiting already.", retry_after=10.0)
        own = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.owner == new.owner, jobs.c.state.in_(ACTIVE))
        if connection.execute(own).scalar_one() >= self._owner_jobs:
            raise OverloadedError(f"{self._owner_jobs} of your jobs have not ended yet.", retry_after=10.0)
        for name in new.inputs:
            collection, _, found = name.partition("/")
            table = datasets if collection == "datasets" else jobs
            query = sa.select(table.c.id).where(table.c.id == found, table.c.owner == new.owner)
            if connection.execute(query).first() is None:
                raise NotFoundError(f"{name}: no such name.")
        values = {
            "id": names.new_id(),
            "owner": new.owner,
            "request_id": new.request_id or None,
            "spec_digest": spec_digest(new),
            "display_name": new.display_name,
            "kind": new.kind,
            "spec": new.spec,
            "inputs": "\n".join(new.inputs),
            "state": QUEUED,
            "progress": b"",
            "attempt": 0,
            "max_attempts": new.max_attempts,
            "sequence": next_sequence(connection),
            "metrics": "{}",
            "notes": "{}",
            "created": time.time(),
        }
        row = connection.execute(sa.insert(jobs).values(values).returning(jobs)).mappings().one()
        return JobRecord.from_row(row)

    def _end(self, claim: Claim, values: dict[str, Any]) -> JobRecord:
        with self._database.write() as connection:
            return must_hold(change(connection, held(claim), {"ended": time.time(), **values, **NO_WORKER}), claim)

    def _put_back_all(self, which: sa.ColumnElement[bool], *, counts: bool) -> list[JobRecord]:
        with self._database.read() as connection:
            if connection.execute(sa.select(jobs.c.number).where(which).limit(1)).first() is None:
                return []
        with self._database.write() as connection:
            found = connection.execute(sa.select(jobs).where(which)).mappings().all()
            return [put_back(connection, JobRecord.from_row(row), counts=counts) for row in found]
