"""Jobs as the store keeps them, and as the API shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from fastclust.v1 import artifact_pb2, common_pb2, job_pb2, spec_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import RowMapping

__all__ = [
    "ACTIVE",
    "CANCELLED",
    "ENDED",
    "FAILED",
    "QUEUED",
    "RUNNING",
    "SUCCEEDED",
    "ArtifactRecord",
    "Claim",
    "JobRecord",
    "NewJob",
    "encode_artifact",
    "encode_job",
    "timestamp",
]

QUEUED: Final = int(job_pb2.JOB_STATE_QUEUED)
RUNNING: Final = int(job_pb2.JOB_STATE_RUNNING)
SUCCEEDED: Final = int(job_pb2.JOB_STATE_SUCCEEDED)
FAILED: Final = int(job_pb2.JOB_STATE_FAILED)
CANCELLED: Final = int(job_pb2.JOB_STATE_CANCELLED)
ACTIVE: Final = (QUEUED, RUNNING)
ENDED: Final = (SUCCEEDED, FAILED, CANCELLED)


@dataclass(frozen=True, slots=True)
class NewJob:
    """What CreateJob hands to the store."""

    owner: str
    kind: str
    #: JobSpec, serialised deterministically.
    spec: bytes
    display_name: str = ""
    #: Empty: none.
    request_id: str = ""
    #: Names of data sets and jobs that the job reads.
    inputs: tuple[str, ...] = ()
    max_attempts: int = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works at which attempt of which job: every write of a worker is fenced by all three."""

    job: str
    worker: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One row of the jobs table."""

    number: int
    id: str
    owner: str
    display_name: str
    kind: str
    spec: bytes
    inputs: tuple[str, ...]
    state: int
    #: When it was asked to stop, in seconds since 1970; None if it was not.
    cancel_requested: float | None
    #: JobProgress, serialised.
    progress: bytes
    attempt: int
    max_attempts: int
    sequence: int
    server: str | None
    worker: str | None
    #: common_pb2.Error, serialised.
    error: bytes | None
    metrics: Mapping[str, float]
    notes: Mapping[str, str]
    created: float
    started: float | None
    ended: float | None
    #: Id of the data set that an import made.
    dataset: str | None

    @property
    def name(self) -> str:
        """Resource name."""
        return f"jobs/{self.id}"

    @property
    def claim(self) -> Claim:
        """The claim under which it runs now."""
        if self.worker is None:
            raise ValueError(f"{self.name} is not claimed")
        return Claim(self.id, self.worker, self.attempt)

    @classmethod
    def from_row(cls, row: RowMapping) -> JobRecord:
        """Read a row of the table."""
        values = {name: row[name] for name in cls.__slots__ if name not in {"inputs", "metrics", "notes"}}
        inputs = tuple(row["inputs"].split("\n")) if row["inputs"] else ()
        return cls(inputs=inputs, metrics=json.loads(row["metrics"]), notes=json.loads(row["notes"]), **values)


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """One row of the artifacts table. ``tensor`` is a serialised TensorSpec; ``file`` is under the artifacts folder."""

    key: str
    media_type: str
    tensor: bytes = field(repr=False)
    byte_count: int
    crc32c: int
    is_file: bool
    file: str


def timestamp(seconds: float) -> Timestamp:
    """Seconds since 1970 as a Timestamp."""
    stamp = Timestamp()
    stamp.FromNanoseconds(int(seconds * 1e6) * 1000)
    return stamp


def encode_artifact(job: str, record: ArtifactRecord) -> artifact_pb2.Artifact:
    """Describe one artifact of the job with id ``job``."""
    return artifact_pb2.Artifact(
        name=f"jobs/{job}/artifacts/{record.key}",
        key=record.key,
        media_type=record.media_type,
        tensor=common_pb2.TensorSpec.FromString(record.tensor),
        byte_count=record.byte_count,
        crc32c=record.crc32c,
        is_file=record.is_file,
    )


def encode_job(record: JobRecord, artifacts: Sequence[ArtifactRecord] = ()) -> job_pb2.Job:
    """Build the Job that a client sees."""
    spec = spec_pb2.JobSpec.FromString(record.spec)
    return job_pb2.Job(
        name=record.name,
        owner=record.owner,
        display_name=record.display_name,
        spec=spec,
        state=job_pb2.JobState.ValueType(record.state),
        cancel_requested=record.cancel_requested is not None,
        progress=job_pb2.JobProgress.FromString(record.progress),
        attempt=record.attempt,
        max_attempts=record.max_attempts,
        sequence=record.sequence,
        artifacts=[encode_artifact(record.id, artifact) for artifact in artifacts],
        error=None if record.error is None else common_pb2.Error.FromString(record.error),
        create_time=timestamp(record.created),
        start_time=None if record.started is None else timestamp(record.started),
        end_time=None if record.ended is None else timestamp(record.ended),
        metrics=record.metrics,
        notes=record.notes,
        dataset="" if record.dataset is None else f"datasets/{record.dataset}",
    )
