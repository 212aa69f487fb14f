"""The service: a scoring route, plus health, readiness and metrics."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.requests import ClientDisconnect

from mtl_lightning.serve.answer import SHOWN, answer, described
from mtl_lightning.serve.limits import Limits
from mtl_lightning.serve.live import Live
from mtl_lightning.serve.measures import Measures
from mtl_lightning.serve.openapi import operation
from mtl_lightning.serve.request import Refused

LOG = logging.getLogger("mtl_lightning.serve")
JSON = "application/json"


class Service:
    """Answers requests from the live export.

    Args:
        live: The export.
        limits: Limits on requests, connections and the stop.

    Example:
        ``uvicorn.run(Service(Live(Path("export"))).app)``
    """

    def __init__(self, live: Live, limits: Limits | None = None) -> None:
        self.live = live
        self.limits = limits or Limits()
        self.measures = Measures()
        self.stopping = False
        self._ended = threading.Event()
        self.pool = ThreadPoolExecutor(self.limits.workers or os.cpu_count() or 1, thread_name_prefix="score")
        self.app = self._app()
        self._tell()

    def _app(self) -> FastAPI:
        app = FastAPI(title="mtl_lightning", lifespan=self._lifespan, redoc_url=None)
        app.post("/score")(self.score)
        app.get("/health", summary="Is the process alive?")(self.health)
        app.get("/ready", summary="Does it take requests, and with which export?")(self.ready)
        app.get("/metrics", summary="Prometheus")(self.metrics)
        app.openapi = self.openapi  # type: ignore[method-assign]
        return app

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        # A thread of its own that ends with the process: an export that is being opened cannot be interrupted.
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
                LOG.exception("looking for a new export failed, and is tried again")

    def _refresh(self) -> None:
        taken = self.live.refresh()
        if taken is not None:
            self.measures.reloaded(taken, self.live.failure.at if self.live.failure else 0.0)
            self._tell()

    def _tell(self) -> None:
        self.measures.serving(self.live.bundle.manifest.recipe, self.live.bundle.identity[:SHOWN])

    async def score(self, request: Request) -> Response:
        """Predictions and the combined score of candidates."""
        start, rows = time.perf_counter(), 0
        try:
            body = await self._body(request)
            loop = asyncio.get_running_loop()
            content, rows = await loop.run_in_executor(self.pool, answer, self.live.bundle, body, self.limits.max_rows)
            response = Response(content, media_type=JSON)
        except Refused as refusal:
            # What is left of a body that is too large or too slow is not waited for.
            headers = {"Connection": "close"} if refusal.status in (408, 413) else None
            response = _problem(refusal.status, refusal.reason, headers)
        except asyncio.CancelledError:
            if not self.stopping:
                raise
            response = _problem(503, "the service stops", {"Connection": "close"})
        self.measures.answered(response.status_code, time.perf_counter() - start, rows)
        return response

    async def _body(self, request: Request) -> bytes:
        most = self.limits.max_body
        too_large = Refused(413, f"the body is larger than {most:,} bytes")
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
            raise Refused(408, f"the body didn't arrive within {self.limits.body_seconds:g} seconds") from error
        except ClientDisconnect as error:
            raise Refused(400, "the connection ended before the body") from error
        return b"".join(parts)

    async def health(self) -> dict[str, bool]:
        """Alive."""
        return {"ok": True}

    async def ready(self) -> Response:
        """The export that is served, and why the newest one is not; 503 while the service stops."""
        failure = self.live.failure
        failed = failure and {"reason": failure.reason, "at": datetime.fromtimestamp(failure.at, UTC).isoformat()}
        found = {"ready": not self.stopping, **described(self.live.bundle), "failed": failed}
        return Response(orjson.dumps(found), 503 if self.stopping else 200, media_type=JSON)

    async def metrics(self) -> Response:
        """Counters."""
        return Response(self.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def openapi(self) -> dict[str, Any]:
        """The service's description; it follows the export."""
        found = get_openapi(title="mtl_lightning", version=self.live.bundle.identity[:SHOWN], routes=self.app.routes)
        found["paths"]["/score"]["post"] = operation(self.live.bundle, self.limits.max_rows)
        return found


def _problem(status: int, reason: str, headers: dict[str, str] | None) -> Response:
    return Response(orjson.dumps({"error": reason}), status, headers, JSON)
