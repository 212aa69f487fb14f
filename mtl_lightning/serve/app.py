"""The service: routes for scores and events, plus health, readiness and metrics."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.requests import ClientDisconnect

from mtl_lightning.serve.answer import SHOWN, Call, answer, describe
from mtl_lightning.serve.events import append
from mtl_lightning.serve.gateway import SPAN, Gateway
from mtl_lightning.serve.limits import Limits
from mtl_lightning.serve.live_export import LiveExport
from mtl_lightning.serve.metrics import ServiceMetrics
from mtl_lightning.serve.open_inference_routes import OpenInferenceRoutes
from mtl_lightning.serve.openapi import events_operation, operation
from mtl_lightning.serve.request import RequestError

if TYPE_CHECKING:
    from mtl_lightning.serve.tracing import Tracing

LOG = logging.getLogger("mtl_lightning.serve")
JSON = "application/json"


class Service:
    """Service that answers requests by the live export.

    Args:
        live: The export.
        limits: Limits on requests, connections and the stop.
        name: Name of the export as a model of the Open Inference Protocol; None for the name of its folder.
        token: Token that requests must bring; None for no check.
        access_log: Whether to log every request.
        tracing: Traces of requests; None for none.

    Example:
        ``uvicorn.run(Service(LiveExport(Path("export"))).app)``
    """

    def __init__(
        self,
        live: LiveExport,
        limits: Limits | None = None,
        *,
        name: str | None = None,
        token: str | None = None,
        access_log: bool = False,
        tracing: "Tracing | None" = None,
    ) -> None:
        self.live = live
        self.limits = limits or Limits()
        self.measures = ServiceMetrics()
        self.stopping = False
        self._ended = threading.Event()
        self.pool = ThreadPoolExecutor(self.limits.workers or os.cpu_count() or 1, thread_name_prefix="score")
        self.app = self._build_app()
        OpenInferenceRoutes(self, name or live.folder.absolute().name).register(self.app)
        self.app.add_middleware(Gateway, refused=self.measures.refused, token=token, log=access_log)
        if tracing is not None:
            from mtl_lightning.serve.tracing import TracedRequests

            self.app.add_middleware(TracedRequests, tracer=tracing.tracer)
        self._report_export()

    def _build_app(self) -> FastAPI:
        app = FastAPI(title="mtl_lightning", lifespan=self._lifespan, redoc_url=None)
        app.post("/score")(self.score)
        app.post("/events")(self.events)
        app.get("/health", summary="Is the process alive?")(self.health)
        app.get("/ready", summary="Does it take requests, and with which export?")(self.ready)
        app.get("/metrics", summary="Prometheus")(self.metrics)
        app.openapi = self.openapi  # type: ignore[method-assign]
        return app

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        # A daemon thread, which ends with the process: the opening of an export cannot be interrupted.
        threading.Thread(target=self._watch, name="reload", daemon=True).start()
        yield
        self.stopping = True
        self._ended.set()
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _watch(self) -> None:
        while self.limits.reload_every and not self._ended.wait(self.limits.reload_every):
            try:
                self._refresh()
            except Exception:
                LOG.exception("the check for a new export failed; it is repeated")

    def _refresh(self) -> None:
        served = self.live.refresh()
        if served is not None:
            self.measures.reloaded(served, self.live.failure.at if self.live.failure else 0.0)
            self._report_export()

    def _report_export(self) -> None:
        self.measures.serving(self.live.bundle.manifest.recipe, self.live.bundle.identity[:SHOWN])

    async def score(self, request: Request) -> Response:
        """Predict candidates, and combine the predictions into a score."""
        start = time.perf_counter()
        response, rows = await self.answer(request, answer, self.limits.max_rows)
        self.measures.answered(response.status_code, time.perf_counter() - start, rows)
        return response

    async def events(self, request: Request) -> Response:
        """Append events to the histories of the export."""
        response, rows = await self.answer(request, append, self.limits.max_rows, self.limits.max_users)
        self.measures.appended(response.status_code, rows)
        return response

    async def answer(
        self, request: Request, function: Callable[..., tuple[bytes | Response, int]], *arguments: Any
    ) -> tuple[Response, int]:
        """Answer a request in a thread.

        Args:
            request: The request.
            function: Function of the export, the body and the arguments: JSON or an answer, and the number of rows.
            arguments: Further arguments of the function.

        Returns:
            The answer, and the number of rows, which is 0 for a refused request.
        """
        rows = 0
        try:
            body = await self._body(request)
            bundle, span = self.live.bundle, request.scope.get(SPAN)
            call: Call = partial(function, bundle, body, *arguments)
            if span is not None:
                call = span.timed(call, bundle.identity[:SHOWN])
            content, rows = await asyncio.get_running_loop().run_in_executor(self.pool, call)
            response = content if isinstance(content, Response) else Response(content, media_type=JSON)
        except RequestError as refusal:
            # Do not wait for the rest of a body that is too large or too slow.
            headers = {"Connection": "close"} if refusal.status in (408, 413) else None
            response = _problem(refusal.status, refusal.reason, headers)
        except asyncio.CancelledError:
            if not self.stopping:
                raise
            response = _problem(503, "the service stops", {"Connection": "close"})
        return response, rows

    async def _body(self, request: Request) -> bytes:
        most = self.limits.max_body
        too_large = RequestError(413, f"the body is larger than {most:,} bytes")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise too_large
                    parts.append(part)
        except TimeoutError as error:
            raise RequestError(408, f"the body didn't arrive within {self.limits.body_seconds:g} seconds") from error
        except ClientDisconnect as error:
            raise RequestError(400, "the connection ended before the body") from error
        return b"".join(parts)

    async def health(self) -> dict[str, bool]:
        """Report that the process is alive."""
        return {"ok": True}

    async def ready(self) -> Response:
        """Report the served export, and the reason why a newer one is not served; 503 while the service stops."""
        failure = self.live.failure
        failed = failure and {"reason": failure.reason, "at": datetime.fromtimestamp(failure.at, UTC).isoformat()}
        content = {"ready": not self.stopping, **describe(self.live.bundle), "failed": failed}
        return Response(orjson.dumps(content), 503 if self.stopping else 200, media_type=JSON)

    async def metrics(self) -> Response:
        """Return metrics in Prometheus' text format."""
        return Response(self.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI description of the service, which depends on the export."""
        description = get_openapi(
            title="mtl_lightning", version=self.live.bundle.identity[:SHOWN], routes=self.app.routes
        )
        description["paths"]["/score"]["post"] = operation(self.live.bundle, self.limits.max_rows)
        description["paths"]["/events"]["post"] = events_operation(self.live.bundle, self.limits.max_rows)
        return description


def _problem(status: int, reason: str, headers: dict[str, str] | None) -> Response:
    return Response(orjson.dumps({"error": reason}), status, headers, JSON)
