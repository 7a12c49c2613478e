"""OnlineService: in the contract, not in this version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from typing_extensions import override

from fastclust.errors import UnsupportedError
from fastclust.v1 import online_pb2, online_pb2_grpc

if TYPE_CHECKING:
    from grpc import aio

    Context = aio.ServicerContext[Any, Any]

__all__ = ["OnlineService"]


class OnlineService(online_pb2_grpc.OnlineServiceServicer):
    """Refuses, and says what to do instead."""

    @override
    async def Assign(self, request: online_pb2.AssignRequest, context: Context) -> online_pb2.AssignResponse:
        """Refuse."""
        _refuse("Assign", 'the job\'s artifact "cluster_centers" assigns rows on your side')

    @override
    async def Search(self, request: online_pb2.SearchRequest, context: Context) -> online_pb2.SearchResponse:
        """Refuse."""
        _refuse("Search", "a neighbors job with queries does the same for many rows at once")

    @override
    async def Embed(self, request: online_pb2.EmbedRequest, context: Context) -> online_pb2.EmbedResponse:
        """Refuse."""
        _refuse("Embed", "an embed job does the same for many rows at once")

    @override
    async def Mahalanobis(
        self, request: online_pb2.MahalanobisRequest, context: Context
    ) -> online_pb2.MahalanobisResponse:
        """Refuse."""
        _refuse("Mahalanobis", "a mahalanobis job with output PAIRWISE does the same for many rows at once")


def _refuse(method: str, instead: str) -> NoReturn:
    raise UnsupportedError(f"OnlineService.{method}: this version of the server has jobs only; {instead}.")
