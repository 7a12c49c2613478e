"""What an owner keeps, and whether more fits; both within the transaction that adds it."""

from __future__ import annotations

import sqlalchemy as sa

from fastclust.errors import OverloadedError
from fastclust_server.database import artifacts, datasets, jobs, uploads

__all__ = ["must_fit", "owner_bytes"]


def owner_bytes(connection: sa.Connection, owner: str) -> int:
    """Return the bytes that an owner keeps: unfinished uploads as declared, data sets, and results of jobs."""
    unfinished = sa.and_(uploads.c.owner == owner, uploads.c.dataset.is_(None))
    results = artifacts.join(jobs, jobs.c.id == artifacts.c.job)
    sums = (
        sa.select(sa.func.sum(uploads.c.byte_count)).where(unfinished),
        sa.select(sa.func.sum(datasets.c.byte_count)).where(datasets.c.owner == owner),
        sa.select(sa.func.sum(artifacts.c.byte_count)).select_from(results).where(jobs.c.owner == owner),
    )
    return sum(int(connection.execute(query).scalar_one() or 0) for query in sums)


def must_fit(connection: sa.Connection, owner: str, more: int, most: int, what: str) -> None:
    """Raise OverloadedError where an owner would keep more than ``most`` bytes with ``more`` of a new ``what``.

    In a transaction that writes, and so one at a time: what it counted is still so when it ends.
    """
    kept = owner_bytes(connection, owner)
    if kept + more > most:
        raise OverloadedError(
            f"The {what} needs {more} bytes; you keep {kept} of the {most} that you may. "
            "Delete data sets, uploads or jobs."
        )
