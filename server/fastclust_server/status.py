"""Errors as they leave the server: google.rpc.Status in the trailers of a call, Error in a failed job."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from sqlalchemy.exc import OperationalError

from fastclust import errors
from fastclust.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DOMAIN", "StatusError", "code_of", "deliberate", "describe", "job_error", "to_status", "trailers"]

DOMAIN = "fastclust"

#: The first class that an error is an instance of decides.
_CODES: tuple[tuple[type[errors.FastclustError], grpc.StatusCode], ...] = (
    (errors.InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.InputTypeError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.DataError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.BackendError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (errors.PreconditionError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.MissingPackageError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.StorageFullError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.DataLossError, grpc.StatusCode.DATA_LOSS),
    (errors.UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (errors.PermissionDeniedError, grpc.StatusCode.PERMISSION_DENIED),
    (errors.UnsupportedError, grpc.StatusCode.UNIMPLEMENTED),
    (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (errors.OperationCancelledError, grpc.StatusCode.CANCELLED),
    (errors.WaitTimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
)
#: Trailers over 8 KiB are dropped by some peers, with the code in them.
_LONGEST_MESSAGE = 1000
_LONGEST_VALUE = 300


class StatusError(Exception):
    """A call is to end with a status that another process made."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def deliberate(error: BaseException) -> errors.FastclustError:
    """Return ``error`` if we raised it on purpose, else what a caller may know of it."""
    if isinstance(error, errors.FastclustError):
        return error
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return errors.StorageFullError("The server's disk is full. Delete data sets or jobs, or try again later.")
    if isinstance(error, OperationalError):
        if "full" in str(error.orig):
            return errors.StorageFullError("The server's disk is full. Delete data sets or jobs, or try again later.")
        return errors.UnavailableError("The server's database does not answer. Try again in a moment.")
    if isinstance(error, MemoryError):
        return errors.OverloadedError("The server has too little memory for this.")
    if isinstance(error, NotImplementedError):
        return errors.UnsupportedError("This version of the server does not do this.")
    return errors.InternalError("Internal error; the server's log has the rest.")


def code_of(error: errors.FastclustError) -> grpc.StatusCode:
    """Return the gRPC code for ``error``."""
    for cls, code in _CODES:
        if isinstance(error, cls):
            return code
    return grpc.StatusCode.INTERNAL


def describe(error: errors.FastclustError) -> common_pb2.Error:
    """Put ``error`` into our own message: what a failed job carries, and what the trailers are made from."""
    about = {"error": _public_class(error)}
    violations = []
    if isinstance(error, errors.InputError | errors.InputTypeError):
        about |= {"field": error.field, "came": error.came, "allowed": error.allowed, "fix": error.fix}
        violations.append(
            common_pb2.FieldViolation(
                field=_short(error.field),
                came=_short(error.came),
                allowed=_short(error.allowed),
                description=_short(str(error), _LONGEST_MESSAGE),
            )
        )
    if isinstance(error, errors.OverloadedError) and error.retry_after is not None:
        about["retry_after"] = f"{error.retry_after:g}"
    return common_pb2.Error(
        reason=error.reason,
        message=_short(str(error), _LONGEST_MESSAGE),
        violations=violations,
        metadata={key: _short(value) for key, value in about.items()},
    )


def job_error(reason: str, message: str) -> common_pb2.Error:
    """Describe a failure that was no exception, such as the death of a worker."""
    return common_pb2.Error(reason=reason, message=message, metadata={"error": errors.JobFailedError.__name__})


def to_status(error: errors.FastclustError, extra: Mapping[str, str] | None = None) -> status_pb2.Status:
    """Build google.rpc.Status: ErrorInfo always, BadRequest for input errors, RetryInfo where waiting helps."""
    told = describe(error)
    status = status_pb2.Status(code=code_of(error).value[0], message=told.message)
    metadata = {**told.metadata, **(extra or {})}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=told.reason, domain=DOMAIN, metadata=metadata))
    if told.violations:
        bad = error_details_pb2.BadRequest()
        for violation in told.violations:
            bad.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad)
    if isinstance(error, errors.OverloadedError) and error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_after * 1000))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def trailers(status: status_pb2.Status) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata that carries ``status``."""
    return tuple((key, value) for key, value in rpc_status.to_status(status).trailing_metadata)


def _public_class(error: errors.FastclustError) -> str:
    """Name the nearest class that clients know, for subclasses that live elsewhere."""
    for cls in type(error).__mro__:
        name: str = cls.__name__
        if getattr(errors, name, None) is cls:
            return name
    return errors.InternalError.__name__


def _short(text: str, longest: int = _LONGEST_VALUE) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
