"""Handles of data sets and jobs. They hold a name and a client; the truth is with the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastclust.client import failures
from fastclust.errors import JobCancelledError, WaitTimeoutError
from fastclust.v1 import job_pb2

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from fastclust.client.results import Result
    from fastclust.client.synchronous import Client
    from fastclust.errors import FastclustError
    from fastclust.v1 import dataset_pb2

__all__ = ["Dataset", "Job", "JobStatus", "Step", "status_of"]

_ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set on the server."""

    #: "datasets/{id}"
    name: str
    display_name: str
    n_rows: int
    n_bytes: int

    @classmethod
    def of(cls, message: dataset_pb2.Dataset) -> Dataset:
        """From the server's message."""
        return cls(message.name, message.display_name, message.row_count, message.byte_count)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job."""

    name: str
    #: Share done, in [0, 1].
    fraction: float
    seconds: float
    reused: bool
    #: Of this step, which is under way; None while it cannot be told.
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job at one moment."""

    name: str
    #: queued, running, succeeded, failed or cancelled
    state: str
    kind: str
    display_name: str
    attempt: int
    #: Share of the whole, in [0, 1].
    fraction: float
    step: str
    message: str
    steps: tuple[Step, ...]
    #: Of the whole job, told in its last step; before that there is only what is left of the step.
    seconds_left: float | None
    sequence: int
    created: float

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in _ENDED


def status_of(job: job_pb2.Job) -> JobStatus:
    """Read the server's message."""
    progress = job.progress
    return JobStatus(
        name=job.name,
        state=job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower(),
        kind=job.spec.WhichOneof("kind") or "",
        display_name=job.display_name,
        attempt=job.attempt,
        fraction=1.0 if job.state == job_pb2.JOB_STATE_SUCCEEDED else progress.fraction,
        step=progress.step,
        message=progress.message,
        steps=tuple(
            Step(step.name, step.fraction, step.seconds, step.reused, _seconds_left(step)) for step in progress.steps
        ),
        seconds_left=_seconds_left(progress),
        sequence=job.sequence,
        created=job.create_time.seconds + job.create_time.nanos / 1e9,
    )


def _seconds_left(of: job_pb2.JobProgress | job_pb2.JobStep) -> float | None:
    return of.seconds_left if of.HasField("seconds_left") else None


class Job:
    """A job on the server; :meth:`Client.job` makes a handle from its name, in any process of the same owner."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        #: "jobs/{id}"
        self.name = name

    def __repr__(self) -> str:
        return f"<Job {self.name}>"

    @property
    def address(self) -> str:
        """The server's, as the client was given it."""
        return self._client.address

    def progress(self) -> JobStatus:
        """Ask how far the job is."""
        return status_of(self._client.fetch_job(self.name))

    @property
    def state(self) -> str:
        """queued, running, succeeded, failed or cancelled, now."""
        return self.progress().state

    @property
    def attempt(self) -> int:
        """1 in the first attempt, 2 after the job lost its worker once, ..."""
        return self.progress().attempt

    def done(self) -> bool:
        """Whether the job has ended."""
        return self.progress().ended

    def watch(self, timeout: float | None = None) -> Iterator[JobStatus]:
        """Yield the job's state now and at each change, until it has ended. Raises WaitTimeoutError."""
        for message in self._client.watch_job(self.name, timeout):
            yield status_of(message)

    def cancel(self) -> None:
        """Ask the job to stop; returns at once."""
        self._client.cancel_job(self.name)

    def delete(self) -> None:
        """Remove the job, once it has ended, and its results."""
        self._client.delete_job(self.name)

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait until the job has ended and return its last state. Raises WaitTimeoutError; the job goes on."""
        last: JobStatus | None = None
        for last in self.watch(timeout):  # noqa: B007 - the last one is what is wanted
            pass
        if last is None:
            raise WaitTimeoutError(f"{self.name} has not ended.")
        return last

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the end and return the results.

        Raises
        ------
        WaitTimeoutError
            ``timeout`` seconds were not enough; the job goes on.
        JobCancelledError, JobFailedError
            How it ended. A job that failed for its input raises that error.
        """
        self.wait(timeout)
        message = self._client.fetch_job(self.name)
        if message.state != job_pb2.JOB_STATE_SUCCEEDED:
            raise self._failure(message)
        return self._client.result_of(message)

    def dataset(self, timeout: float | None = None) -> Dataset:
        """Wait for the end of an import and return the data set that it made; raises as :meth:`result` does."""
        self.result(timeout)
        return self._client.dataset(self._client.fetch_job(self.name).dataset)

    def download(self, folder: str | os.PathLike[str], timeout: float | None = None) -> list[Path]:
        """Wait for the end and write the results into ``folder``; returns the paths."""
        return self.result(timeout).save(folder)

    def _failure(self, message: job_pb2.Job) -> FastclustError:
        if message.state == job_pb2.JOB_STATE_CANCELLED:
            return JobCancelledError(f"{self.name} was cancelled.", self.name)
        return failures.of_job(message.error, self.name)
