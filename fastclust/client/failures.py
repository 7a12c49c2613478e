"""Errors of calls and jobs, raised again as the class that the server raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from fastclust import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastclust.v1 import common_pb2

__all__ = ["is_transient", "of_call", "of_job"]

_BY_CODE: dict[grpc.StatusCode, type[errors.FastclustError]] = {
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.PreconditionError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
    grpc.StatusCode.DATA_LOSS: errors.DataLossError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.UNIMPLEMENTED: errors.UnsupportedError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.WaitTimeoutError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.DataError,
    grpc.StatusCode.CANCELLED: errors.OperationCancelledError,
}


def is_transient(error: grpc.RpcError) -> bool:
    """Whether the same call may be made again: only where the server could not be reached."""
    return bool(error.code() is grpc.StatusCode.UNAVAILABLE)


def of_call(error: grpc.RpcError, address: str) -> errors.FastclustError:
    """Return the error that the trailers of a failed call describe."""
    status = rpc_status.from_call(error)
    message = str(error.details() or error.code().name)
    if status is not None:
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return _make(dict(info.metadata), status.message)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        message = f"No fastclust server answers at {address} ({message}). Start one with: fastclust serve"
    cls = _BY_CODE.get(error.code(), errors.InternalError)
    return cls(message)


def of_job(error: common_pb2.Error, job: str) -> errors.FastclustError:
    """Return the error that a failed job carries: that of its input, or JobFailedError."""
    made = _make(dict(error.metadata), error.message)
    kept = (
        errors.InputError | errors.InputTypeError | errors.DataError | errors.BackendError | errors.MissingPackageError
    )
    if isinstance(made, kept):
        return made
    return errors.JobFailedError(f"{job} failed: {error.message} ({error.reason})", job)


def _make(about: Mapping[str, str], message: str) -> errors.FastclustError:
    cls = getattr(errors, about.get("error", ""), None)
    if not (isinstance(cls, type) and issubclass(cls, errors.FastclustError)):
        return errors.InternalError(message)
    if issubclass(cls, errors.InputError | errors.InputTypeError):
        return cls(about.get("field", ""), about.get("came", ""), about.get("allowed", ""), about.get("fix", ""))
    if issubclass(cls, errors.OverloadedError):
        after = about.get("retry_after")
        return cls(message, float(after) if after else None)
    return cls(message)
