"""Spans of calls by OpenTelemetry, for set-ups that ask for them. Where they go, OTEL_ variables say."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from fastclust.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["Telemetry"]


class Telemetry:
    """Makes a span for each call, within the caller's where he sent ``traceparent``.

    Parameters
    ----------
    wanted
        False: no spans, and no package is needed.
    provider
        Of the spans; None makes one that exports by OTLP over HTTP.

    Raises
    ------
    MissingPackageError
        Wanted, and OpenTelemetry is not installed.
    """

    def __init__(self, *, wanted: bool, provider: Any = None) -> None:
        self._provider = provider
        self._tracer: Any = None
        if not wanted:
            return
        try:
            from opentelemetry import trace

            self._provider = provider or _provider()
            self._tracer = trace.get_tracer("fastclust_server", tracer_provider=self._provider)
        except ImportError as error:
            raise MissingPackageError(
                '--telemetry needs OpenTelemetry. Run: pip install "fastclust[telemetry]"'
            ) from error

    @property
    def on(self) -> bool:
        """Whether calls are told of at all."""
        return self._tracer is not None

    def call(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> AbstractContextManager[None]:
        """Return what surrounds a call."""
        return nullcontext() if self._tracer is None else self._span(method, metadata)

    def close(self) -> None:
        """Send what was not sent."""
        if self._provider is not None:
            self._provider.shutdown()

    @contextmanager
    def _span(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Iterator[None]:
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        service, _, name = method.lstrip("/").partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        with self._tracer.start_as_current_span(
            method.lstrip("/"), extract(carrier), kind=SpanKind.SERVER, attributes=attributes
        ):
            yield


def _provider() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "fastclust"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
