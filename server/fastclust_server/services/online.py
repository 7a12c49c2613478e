"""OnlineService: hands each call, as the bytes it came in, to the online process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from fastclust.v1 import online_pb2
from fastclust_server import calls
from fastclust_server.online.frames import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastclust_server.online.handle import OnlineHandle

__all__ = ["add_to_server"]

_NAME = online_pb2.DESCRIPTOR.services_by_name["OnlineService"].full_name


def add_to_server(online: OnlineHandle, server: grpc.Server) -> None:
    """Serve the four methods. The front end neither parses nor builds their messages."""

    def behaviour(number: int) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            return online.call(number, calls.current().owner, request, context)

        return answer

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        name: grpc.unary_unary_rpc_method_handler(behaviour(number)) for number, name in enumerate(METHODS)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_NAME, handlers),))
