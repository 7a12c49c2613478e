"""What surrounds every call: the caller's owner before the body is read, and errors turned into statuses."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from typing_extensions import override

from fastclust import chunks
from fastclust.errors import FastclustError, InputError, OverloadedError
from fastclust_server import log, status

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from fastclust_server.auth import Authenticator
    from fastclust_server.metrics import Metrics
    from fastclust_server.pools import Pools
    from fastclust_server.telemetry import Telemetry

__all__ = ["Call", "Calls", "current", "refuse"]

#: Health is asked by those who have no token: load balancers and people in trouble.
_OPEN = "/grpc.health.v1.Health/"
_OURS = "/fastclust.v1."
_ONLINE = "/fastclust.v1.OnlineService/"
#: More online calls than this are not even read.
_MOST_ONLINE = 512
_MOST_TRANSFERS = 512
_CODES = {code.value[0]: code for code in grpc.StatusCode}


#: Chunks are parsed and built without copying their data.
_PARSE = {"/fastclust.v1.DatasetService/Upload": chunks.decode_upload}
_READ = "/fastclust.v1.ArtifactService/ReadArtifact"


def _as_bytes(message: Any) -> bytes:
    data: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return data


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """In place of a message that cannot be parsed. grpcio would answer INTERNAL, and keep 15 kB of each for good."""

    error: InputError


def _parsing(parse: Callable[[bytes], Any], method: str) -> Callable[[bytes], Any]:
    """Return ``parse``, which gives an :class:`_Unreadable` for what it raises on."""

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except (ValueError, DecodeError) as error:
            return _Unreadable(InputError("request", f"{len(data)} bytes ({error})", f"a message of {method[1:]}"))

    return read


def _readable(messages: Any) -> Any:
    """Return a message, or messages one by one. Raises InputError for what could not be parsed."""
    if isinstance(messages, _Unreadable):
        raise messages.error
    return _each_readable(messages) if isinstance(messages, Iterator) else messages


def _each_readable(messages: Iterator[Any]) -> Iterator[Any]:
    for message in messages:
        if isinstance(message, _Unreadable):
            raise message.error
        yield message


@dataclass(frozen=True, slots=True)
class Call:
    """The call that is being answered."""

    owner: str
    method: str
    #: For the log, and in the metadata of errors.
    request: str


#: Of this process, so that numbers of two servers do not meet in one log.
_PREFIX = secrets.token_hex(4)
_requests = itertools.count(1)


def _new_request() -> str:
    return f"{_PREFIX}{next(_requests) & 0xFFFFFFFF:08x}"


_call: ContextVar[Call] = ContextVar("fastclust_call")


def current() -> Call:
    """Return the call that this thread answers."""
    return _call.get()


class Calls(grpc.ServerInterceptor):
    """Authenticates, and aborts with a status whatever a handler raises, so that nothing runs on after an error."""

    def __init__(self, authenticator: Authenticator, pools: Pools, metrics: Metrics, telemetry: Telemetry) -> None:
        self._authenticator = authenticator
        self._pools = pools
        self.metrics = metrics
        self._telemetry = telemetry
        #: Methods of ours that were called, and their handlers by caller; owners are those of the file of tokens.
        self._known: set[str] = set()
        self._wrapped: dict[tuple[str, str | None], grpc.RpcMethodHandler[Any, Any]] = {}
        self._open = 0
        self._changed = threading.Condition()

    def wait_idle(self, seconds: float) -> bool:
        """Wait until no call is being answered; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0, seconds)

    @override
    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        method = handler_call_details.method
        known = method in self._known
        handler = None if known else continuation(handler_call_details)
        if not known and (handler is None or method.startswith(_OPEN)):
            return handler
        try:
            owner = self._authenticator.owner(handler_call_details.invocation_metadata)
            if not method.startswith(_OURS):
                return handler
            self._check_room(method)
        except FastclustError as error:
            return self._refusing(handler or continuation(handler_call_details), method, error)
        # Looking handlers up and wrapping them takes longer than all else here, and there are few of them.
        wrapped = self._wrapped.get((method, owner))
        if wrapped is None:
            handler = handler or continuation(handler_call_details)
            wrapped = self._wrapped[method, owner] = self._wrap(handler, method, owner)
            self._known.add(method)
        return wrapped

    def _check_room(self, method: str) -> None:
        if method.startswith(_ONLINE):
            if self._pools.online.held >= _MOST_ONLINE:
                raise OverloadedError(f"{_MOST_ONLINE} online calls are waiting already.", retry_after=0.5)
        elif method.endswith(("/Upload", "/ReadArtifact")) and self._pools.transfers.held >= _MOST_TRANSFERS:
            raise OverloadedError(f"{_MOST_TRANSFERS} transfers are under way already.", retry_after=5.0)

    def _refusing(self, handler: Any, method: str, error: FastclustError) -> grpc.RpcMethodHandler[Any, Any]:
        """Return a handler that raises ``error``. It takes a stream, whatever the method takes: nothing is read."""
        call = Call("", method, _new_request())

        def answer(_requests: Any, context: grpc.ServicerContext) -> Any:
            with self._counted(method), self._answering(call, context):
                raise error

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(answer)
        return grpc.stream_unary_rpc_method_handler(answer)

    def _wrap(self, handler: Any, method: str, owner: str | None) -> grpc.RpcMethodHandler[Any, Any]:
        """Return ``handler`` with the caller, the count and the errors around it."""
        streaming_in, streaming_out = bool(handler.request_streaming), bool(handler.response_streaming)
        plain = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream

        def new_call() -> Call:
            return Call(owner or "", method, _new_request())

        def answer(message: Any, context: grpc.ServicerContext) -> Any:
            call = new_call()
            with self._counted(method), self._answering(call, context):
                self._enter(call, context)
                return plain(_readable(message), context)

        def stream(message: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            call = new_call()
            with self._counted(method), self._answering(call, context):
                self._enter(call, context)
                yield from plain(_readable(message), context)

        def begin(message: Any, context: grpc.ServicerContext, send: Callable[[Any], None]) -> None:
            # The call goes on when this returns; the handler ends it by send(None).
            call = new_call()
            with self._answering(call, context):
                self._enter(call, context)
                request = _readable(message)
                with ExitStack() as stack:
                    stack.enter_context(self._counted(method))
                    closing = stack.pop_all().close
                    if not context.add_callback(closing):
                        closing()
                        return
                plain(request, context, send)

        non_blocking = getattr(plain, "experimental_non_blocking", False)
        behaviour: Any = begin if non_blocking else stream if streaming_out else answer
        if non_blocking:
            behaviour.experimental_non_blocking = True
            behaviour.experimental_thread_pool = self._pools.calls
        elif method.startswith(_ONLINE):
            behaviour.experimental_thread_pool = self._pools.online
        elif streaming_in or streaming_out:
            behaviour.experimental_thread_pool = self._pools.transfers
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[streaming_in, streaming_out]
        return make(
            behaviour,
            _parsing(parse, method) if (parse := _PARSE.get(method, handler.request_deserializer)) else None,
            _as_bytes if method == _READ else handler.response_serializer,
        )

    def _enter(self, call: Call, context: grpc.ServicerContext) -> None:
        """Say who calls, where only his certificate can."""
        if not call.owner:
            _call.set(replace(call, owner=self._authenticator.subject(context)))

    def _counted(self, method: str) -> _Counted:
        return _Counted(self, method)

    def _answering(self, call: Call, context: grpc.ServicerContext) -> _Answering:
        return _Answering(call, context, self.metrics, self._telemetry)

    def opened(self) -> None:
        """Take note that a call is being answered."""
        with self._changed:
            self._open += 1

    def closed(self) -> None:
        """Take note that one is no longer."""
        with self._changed:
            self._open -= 1
            if self._open == 0:
                self._changed.notify_all()


class _Counted:
    """Around a call: it is open. A class, as a generator takes three times as long, and every call pays."""

    __slots__ = ("_calls", "_method")

    def __init__(self, calls: Calls, method: str) -> None:
        self._calls, self._method = calls, method

    def __enter__(self) -> None:
        self._calls.opened()
        self._calls.metrics.started(self._method)

    def __exit__(self, *_raised: object) -> None:
        self._calls.closed()


class _Answering:
    """Around a handler: who calls, how long it took, and what it raises as a status."""

    __slots__ = ("_begun", "_call", "_context", "_metrics", "_span", "_telemetry")

    def __init__(self, call: Call, context: grpc.ServicerContext, metrics: Metrics, telemetry: Telemetry) -> None:
        self._call, self._context, self._metrics, self._telemetry = call, context, metrics, telemetry
        self._begun = time.perf_counter()
        self._span: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        _call.set(self._call)
        if self._telemetry.on:
            self._span = self._telemetry.call(self._call.method, self._context.invocation_metadata())
            self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = grpc.StatusCode.OK
        try:
            if self._span is not None:
                self._span.__exit__(kind, error, trace)
            if isinstance(error, GeneratorExit):
                code = grpc.StatusCode.CANCELLED  # the caller went away
            elif isinstance(error, Exception):
                if not isinstance(error, FastclustError) and not self._context.is_active():
                    code = grpc.StatusCode.CANCELLED  # the caller went away, and the handler noticed
                    return
                code, message = refuse(self._context, error, _call.get())
                self._context.abort(code, message)
        finally:
            self._metrics.ended(self._call.method, code.name, time.perf_counter() - self._begun)


def refuse(context: grpc.ServicerContext, error: BaseException, call: Call) -> tuple[grpc.StatusCode, str]:
    """Log ``error`` and put it into the status of a call, which the caller then ends; return code and message."""
    if isinstance(error, status.StatusError):
        code = _CODES[error.status.code]
        context.set_trailing_metadata(status.trailers(error.status))
        context.set_code(code)
        context.set_details(error.status.message)
        return code, error.status.message
    told = status.deliberate(error)
    code = status.code_of(told)
    fields = {"request": call.request, "owner": call.owner or None, "method": call.method, "code": code.name}
    if code is grpc.StatusCode.INTERNAL:
        log.failure("call_failed", error, **fields)
    else:
        log.event("call_refused", reason=told.reason, message=str(told)[:300], **fields)
    built = status.to_status(told, {"request": call.request})
    context.set_trailing_metadata(status.trailers(built))
    context.set_code(code)
    context.set_details(built.message)
    return code, built.message
