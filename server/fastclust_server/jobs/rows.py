"""Statements on the jobs table that the store's transactions are made of."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import sqlalchemy as sa

from fastclust.errors import AlreadyExistsError, FastclustError, NotFoundError
from fastclust_server.database import counters, jobs, turns
from fastclust_server.jobs.records import ACTIVE, CANCELLED, FAILED, QUEUED, RUNNING, Claim, JobRecord, NewJob
from fastclust_server.status import job_error

__all__ = [
    "NO_WORKER",
    "LostClaimError",
    "active_reader",
    "change",
    "find_one",
    "find_request",
    "get_owned",
    "held",
    "must_hold",
    "next_in_turn",
    "next_sequence",
    "put_back",
    "served",
    "spec_digest",
]

#: Values of a job that nobody works at.
NO_WORKER: dict[str, Any] = {"server": None, "worker": None, "lease_until": None}


class LostClaimError(FastclustError):
    """The job is no longer this worker's: cancelled, deleted, or given to another."""

    reason = "LOST_CLAIM"


def spec_digest(new: NewJob) -> str:
    """Hash what a request id is tied to."""
    return hashlib.sha256(new.spec).hexdigest()


def find_request(connection: sa.Connection, new: NewJob) -> JobRecord | None:
    """Return the job that this request id made before. Raises AlreadyExistsError if it asked for another."""
    if not new.request_id:
        return None
    query = sa.select(jobs).where(jobs.c.owner == new.owner, jobs.c.request_id == new.request_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    if row["spec_digest"] != spec_digest(new):
        raise AlreadyExistsError(f"request_id {new.request_id!r} belongs to jobs/{row['id']}, which has another spec.")
    return JobRecord.from_row(row)


def find_one(connection: sa.Connection, which: sa.ColumnElement[bool]) -> JobRecord | None:
    """Return the one job that ``which`` picks; None where it picks none."""
    row = connection.execute(sa.select(jobs).where(which)).mappings().first()
    return None if row is None else JobRecord.from_row(row)


def get_owned(connection: sa.Connection, owner: str, job: str) -> JobRecord:
    """Return one job of ``owner``. Raises NotFoundError."""
    record = find_one(connection, sa.and_(jobs.c.id == job, jobs.c.owner == owner))
    if record is None:
        raise NotFoundError(f"jobs/{job}: no such job.")
    return record


def active_reader(connection: sa.Connection, owner: str, name: str) -> str | None:
    """Return the name of an unfinished job that reads the data set or job ``name``."""
    query = sa.select(jobs.c.id, jobs.c.inputs).where(jobs.c.owner == owner, jobs.c.state.in_(ACTIVE))
    for row in connection.execute(query):
        if name in row.inputs.split("\n"):
            return f"jobs/{row.id}"
    return None


def held(claim: Claim) -> sa.ColumnElement[bool]:
    """Pick the job of a claim, while the claim holds."""
    return sa.and_(
        jobs.c.id == claim.job,
        jobs.c.worker == claim.worker,
        jobs.c.attempt == claim.attempt,
        jobs.c.state == RUNNING,
    )


def must_hold(record: JobRecord | None, claim: Claim) -> JobRecord:
    """Raise LostClaimError for a write that changed nothing."""
    if record is None:
        raise LostClaimError(f"jobs/{claim.job} is no longer ours.")
    return record


def next_sequence(connection: sa.Connection) -> int:
    """Take the next number of change."""
    query = sa.update(counters).where(counters.c.name == "jobs").values(value=counters.c.value + 1)
    return int(connection.execute(query.returning(counters.c.value)).scalar_one())


def change(connection: sa.Connection, which: sa.ColumnElement[bool], values: dict[str, Any]) -> JobRecord | None:
    """Change the one row that ``which`` picks; None where it picks none."""
    query = sa.update(jobs).where(which).values(sequence=next_sequence(connection), **values).returning(jobs)
    row = connection.execute(query).mappings().first()
    return None if row is None else JobRecord.from_row(row)


def next_in_turn(connection: sa.Connection) -> int | None:
    """Return the number of the job to run next: the oldest of the owner who was served longest ago."""
    heads = (
        sa.select(jobs.c.owner, sa.func.min(jobs.c.number).label("number"))
        .where(jobs.c.state == QUEUED)
        .group_by(jobs.c.owner)
        .subquery()
    )
    query = (
        sa.select(heads.c.number)
        .outerjoin(turns, turns.c.owner == heads.c.owner)
        .order_by(sa.func.coalesce(turns.c.served, 0), heads.c.number)
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def served(connection: sa.Connection, owner: str, sequence: int) -> None:
    """Note that an owner's job began, so that the others come first now."""
    changed = connection.execute(sa.update(turns).where(turns.c.owner == owner).values(served=sequence))
    if not changed.rowcount:
        connection.execute(sa.insert(turns).values(owner=owner, served=sequence))


def put_back(connection: sa.Connection, record: JobRecord, *, counts: bool) -> JobRecord:
    """Take a running job from its worker: it is queued again, or ends if it was cancelled or has no attempt left.

    ``counts`` says whether the attempt counts against ``max_attempts``.
    """
    now = time.time()
    values: dict[str, Any] = dict(NO_WORKER)
    if record.cancel_requested is not None:
        values |= {"state": CANCELLED, "ended": now}
    elif counts and record.attempt >= record.max_attempts:
        message = f"The worker died in each of {record.attempt} attempts, for want of memory perhaps."
        values |= {"state": FAILED, "ended": now, "error": job_error("WORKER_DIED", message).SerializeToString()}
    elif counts:
        values |= {"state": QUEUED}
    else:
        # The attempt was taken away, not lost.
        values |= {"state": QUEUED, "max_attempts": record.max_attempts + 1}
    return change(connection, sa.and_(jobs.c.id == record.id, jobs.c.state == RUNNING), values) or record
