import errno

import grpc
import pytest
from google.rpc import error_details_pb2

from fastclust import errors
from fastclust_server import status
from fastclust_server.jobs.rows import LostClaimError


def info(error):
    detail = error_details_pb2.ErrorInfo()
    assert status.to_status(error).details[0].Unpack(detail)
    return detail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("k", 1, "2"), "INVALID_ARGUMENT"),
        (errors.InputTypeError("k", 1, "2"), "INVALID_ARGUMENT"),
        (errors.DataError("x"), "INVALID_ARGUMENT"),
        (errors.BackendError("x"), "INVALID_ARGUMENT"),
        (errors.NotFoundError("x"), "NOT_FOUND"),
        (errors.AlreadyExistsError("x"), "ALREADY_EXISTS"),
        (errors.PreconditionError("x"), "FAILED_PRECONDITION"),
        (errors.OverloadedError("x"), "RESOURCE_EXHAUSTED"),
        (errors.StorageFullError("x"), "RESOURCE_EXHAUSTED"),
        (errors.DataLossError("x"), "DATA_LOSS"),
        (errors.UnauthenticatedError("x"), "UNAUTHENTICATED"),
        (errors.PermissionDeniedError("x"), "PERMISSION_DENIED"),
        (errors.UnsupportedError("x"), "UNIMPLEMENTED"),
        (errors.UnavailableError("x"), "UNAVAILABLE"),
        (errors.OperationCancelledError("x"), "CANCELLED"),
        (errors.InternalError("x"), "INTERNAL"),
        (errors.FastclustError("x"), "INTERNAL"),
    ],
)
def test_each_error_has_its_code_reason_and_class(error, code):
    assert status.code_of(error) is grpc.StatusCode[code]
    assert status.to_status(error).code == grpc.StatusCode[code].value[0]
    assert info(error).reason == error.reason
    assert info(error).domain == "fastclust"
    assert info(error).metadata["error"] == type(error).__name__


def test_an_input_error_carries_all_that_is_needed_to_raise_it_again():
    sent = errors.InputError("n_clusters", 10, "1..5", "Ask for fewer.")
    told = dict(info(sent).metadata)
    assert told.pop("error") == "InputError"
    again = errors.InputError(**told)
    assert str(again) == str(sent)


def test_overload_says_when_to_come_back():
    built = status.to_status(errors.OverloadedError("full", retry_after=2.5))
    retry = error_details_pb2.RetryInfo()
    assert built.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 2500
    assert info(errors.OverloadedError("full", 2.5)).metadata["retry_after"] == "2.5"


@pytest.mark.parametrize("error", [KeyError("/secret/path"), RuntimeError("/secret/path"), AssertionError()])
def test_a_fault_of_ours_tells_nothing_of_the_inside(error):
    told = status.deliberate(error)
    assert isinstance(told, errors.InternalError)
    assert "secret" not in str(told)


def test_a_full_disk_is_told_as_such():
    assert isinstance(status.deliberate(OSError(errno.ENOSPC, "full")), errors.StorageFullError)
    assert isinstance(status.deliberate(OSError(errno.EACCES, "no")), errors.InternalError)


def test_a_class_that_clients_do_not_know_is_told_as_one_that_they_know():
    assert info(LostClaimError("x")).metadata["error"] == "FastclustError"


def test_trailers_stay_below_what_peers_accept():
    built = status.to_status(errors.InputError("f" * 9000, "c" * 9000, "a" * 9000, "x" * 9000))
    assert sum(len(key) + len(value) for key, value in status.trailers(built)) < 8192
