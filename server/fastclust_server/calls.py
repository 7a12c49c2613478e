"""What surrounds every call: the caller's owner before the body is read, and errors turned into statuses."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio
from typing_extensions import override

from fastclust.errors import FastclustError
from fastclust_server import log, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from fastclust_server.auth import Authenticator

__all__ = ["Call", "Calls", "current"]

#: Health is asked by those who have no token: load balancers and people in trouble.
_OPEN = "/grpc.health.v1.Health/"
_OURS = "/fastclust.v1."


@dataclass(frozen=True, slots=True)
class Call:
    """The call that is being answered."""

    owner: str
    method: str
    #: For the log, and in the metadata of errors.
    request: str


_call: ContextVar[Call] = ContextVar("fastclust_call")


def current() -> Call:
    """Return the call that this task answers."""
    return _call.get()


class Calls(aio.ServerInterceptor):
    """Authenticates, and aborts with a status whatever a handler raises, so that nothing runs on after an error."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is being answered."""
        await self._idle.wait()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._open += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open -= 1
            if self._open == 0:
                self._idle.set()

    @override
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_OPEN):
            return handler
        try:
            owner = self._authenticator.owner(handler_call_details.invocation_metadata)
        except FastclustError as error:
            return self._wrap(handler, Call("", method, secrets.token_hex(8)), error)
        if not method.startswith(_OURS):
            return handler
        return self._wrap(handler, Call(owner, method, secrets.token_hex(8)), None)

    def _wrap(
        self, handler: grpc.RpcMethodHandler[Any, Any], call: Call, refusal: FastclustError | None
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return ``handler`` with ``call`` around it; with a ``refusal``, one that raises it and reads nothing."""
        plain: Any = handler

        async def answer(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            with self._counted():
                async with _answering(call, context, refusal):
                    return await (plain.unary_unary or plain.stream_unary)(request, context)

        async def stream(request: Any, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            with self._counted():
                async with _answering(call, context, refusal):
                    async for message in (plain.unary_stream or plain.stream_stream)(request, context):
                        yield message

        kinds = {
            (False, False): (grpc.unary_unary_rpc_method_handler, answer),
            (True, False): (grpc.stream_unary_rpc_method_handler, answer),
            (False, True): (grpc.unary_stream_rpc_method_handler, stream),
            (True, True): (grpc.stream_stream_rpc_method_handler, stream),
        }
        make, behaviour = kinds[bool(plain.request_streaming), bool(plain.response_streaming)]
        made: grpc.RpcMethodHandler[Any, Any] = make(
            behaviour, request_deserializer=plain.request_deserializer, response_serializer=plain.response_serializer
        )
        return made


@asynccontextmanager
async def _answering(
    call: Call, context: aio.ServicerContext[Any, Any], refusal: FastclustError | None
) -> AsyncIterator[None]:
    _call.set(call)
    try:
        _raise(refusal)
        yield
    except aio.AbortError:
        raise
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a status
        told = status.deliberate(error)
        code = status.code_of(told)
        fields = {"request": call.request, "owner": call.owner, "method": call.method, "code": code.name}
        if code is grpc.StatusCode.INTERNAL:
            log.failure("call_failed", error, **fields)
        else:
            log.event("call_refused", reason=told.reason, message=str(told)[:300], **fields)
        built = status.to_status(told, {"request": call.request})
        await context.abort(code, built.message, status.trailers(built))


def _raise(refusal: FastclustError | None) -> None:
    if refusal is not None:
        raise refusal
