"""OpenTelemetry traces: a span per request, with the time in the queue and the computation as its children.

The module needs the extra ``otel`` and is imported only if traces are wanted.
"""

import logging
import os
import threading
import time
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtl_lightning.serve.answer import Call
from mtl_lightning.serve.gateway import LONGEST, REQUEST_ID, SPAN

LOG = logging.getLogger("mtl_lightning.serve")
SELDOM = 60.0
"""Seconds between two warnings of the same kind."""

LAST = 2.0
"""Seconds for the last spans when the service stops."""


class Tracing:
    """Sends spans from a thread of its own. Requests never wait for it: spans that can't be sent are dropped.

    Args:
        endpoint: Where spans are sent, ``http://…/v1/traces``; None for what the ``OTEL_…`` variables say.

    Example:
        ``app.add_middleware(TracedRequests, tracer=Tracing("http://127.0.0.1:4318/v1/traces").tracer)``
    """

    def __init__(self, endpoint: str | None) -> None:
        messages = logging.getLogger("opentelemetry")
        messages.handlers, messages.propagate = [_SeldomMessages()], False
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({} if named else {SERVICE_NAME: "mtl-lightning"})
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        self.tracer = self.provider.get_tracer("mtl_lightning")

    def close(self) -> None:
        """Send the last spans, for at most :data:`LAST` seconds."""
        thread = threading.Thread(target=self.provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(LAST)


class _SeldomMessages(logging.Handler):
    """Handler that repeats messages of OpenTelemetry, each kind once a minute."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now, kind = time.monotonic(), str(record.msg)
        if now - self._last.get(kind, -SELDOM) >= SELDOM:
            self._last[kind] = now
            LOG.warning("traces: %s", record.getMessage())


class RequestSpan:
    """Span of a request, as the application sees it.

    Args:
        tracer: The tracer.
        span: The span.
    """

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self.tracer = tracer
        self.span = span
        self.trace_id = trace.format_trace_id(span.get_span_context().trace_id)

    def timed(self, call: Call, model: str) -> Call:
        """Return a call that is traced: its time in the queue, from now to its start, and its computation.

        Args:
            call: Function that a thread will call.
            model: Version of the export.
        """
        queued = time.time_ns()
        context = trace.set_span_in_context(self.span)

        def traced() -> tuple[Any, int]:
            self.tracer.start_span("queue", context, start_time=queued).end()
            # Messages of exceptions may hold values of the request.
            options: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
            self.span.set_attribute("mtl.model", model)
            with self.tracer.start_as_current_span("compute", context, **options):
                content, rows = call()
            self.span.set_attribute("mtl.rows", rows)
            return content, rows

        return traced


class TracedRequests:
    """Middleware that traces every request, as a child of the request's ``traceparent`` if it has one.

    Queries, headers and bodies are not in spans.

    Args:
        app: The application.
        tracer: The tracer.

    Source:
        W3C, "Trace Context"; OpenTelemetry, "Semantic conventions for HTTP spans".
    """

    def __init__(self, app: ASGIApp, *, tracer: trace.Tracer) -> None:
        self.app = app
        self.tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method, status = scope["method"], 500  # an error of the application has no answer here
        span = self.tracer.start_span(
            method,
            propagate.extract(Headers(scope=scope)),
            trace.SpanKind.SERVER,
            {"http.request.method": method, "url.path": scope["path"][:LONGEST], "url.scheme": scope["scheme"]},
        )
        scope[SPAN] = RequestSpan(self.tracer, span)

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                span.set_attribute("mtl.request_id", MutableHeaders(scope=message).get(REQUEST_ID, ""))
            await send(message)

        try:
            await self.app(scope, receive, send_traced)
        finally:
            if route := getattr(scope.get("route"), "path", None):
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_status(trace.StatusCode.ERROR)
            span.end()
