"""Errors of fastclust: those of the numeric kernels, and those of files, jobs and servers.

The root is :class:`FastclustError`. Errors that travel over gRPC are raised again on the client as the same class.
"""

from __future__ import annotations

from fastclust_kernels.errors import (
    BackendError,
    FastclustError,
    InputError,
    InputTypeError,
    MissingPackageError,
    OperationCancelledError,
)

__all__ = [
    "AlreadyExistsError",
    "BackendError",
    "DataError",
    "DataLossError",
    "FastclustError",
    "InputError",
    "InputTypeError",
    "InternalError",
    "JobCancelledError",
    "JobFailedError",
    "MissingPackageError",
    "NotFoundError",
    "OperationCancelledError",
    "OverloadedError",
    "PermissionDeniedError",
    "PreconditionError",
    "StorageFullError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
    "WaitTimeoutError",
]


class DataError(FastclustError, ValueError):
    """A file or folder that cannot be read as what it claims to be; the message names it."""

    reason = "BAD_DATA"


class DataLossError(FastclustError):
    """Bytes that do not match their checksum."""

    reason = "CHECKSUM_MISMATCH"


class NotFoundError(FastclustError, LookupError):
    """No such data set, job, artifact or file, or not the caller's."""

    reason = "NOT_FOUND"


class AlreadyExistsError(FastclustError):
    """The name or request id is taken by something else."""

    reason = "ALREADY_EXISTS"


class PreconditionError(FastclustError):
    """The thing exists but is not in the state that the call needs, such as the artifacts of a running job."""

    reason = "FAILED_PRECONDITION"


class OverloadedError(FastclustError):
    """A queue or quota is full. ``retry_after`` is in seconds, or None where waiting does not help."""

    reason = "OVERLOADED"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageFullError(FastclustError, OSError):
    """There is no room on the disk."""

    reason = "STORAGE_FULL"


class UnauthenticatedError(FastclustError):
    """No credentials, or wrong ones."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(FastclustError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class UnavailableError(FastclustError, ConnectionError):
    """The server cannot be reached, or is shutting down."""

    reason = "UNAVAILABLE"


class UnsupportedError(FastclustError):
    """This version of the server does not do this."""

    reason = "UNSUPPORTED"


class InternalError(FastclustError):
    """A fault of ours. The log has the rest."""

    reason = "INTERNAL"


class WaitTimeoutError(FastclustError, TimeoutError):
    """The time given was not enough; the job goes on."""

    reason = "WAIT_TIMEOUT"


class JobFailedError(FastclustError):
    """The job failed on the server; ``job`` is its name."""

    reason = "JOB_FAILED"

    def __init__(self, message: str, job: str = "") -> None:
        super().__init__(message)
        self.job = job


class JobCancelledError(OperationCancelledError):
    """The job was cancelled; ``job`` is its name."""

    reason = "JOB_CANCELLED"

    def __init__(self, message: str, job: str = "") -> None:
        super().__init__(message)
        self.job = job
