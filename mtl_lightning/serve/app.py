"""The service: one route that scores, and those that tell how it is."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from mtl_lightning.errors import DataError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.serve.live import Live
from mtl_lightning.serve.measures import Measures
from mtl_lightning.serve.openapi import operation
from mtl_lightning.serve.request import Refused, read

LOG = logging.getLogger("mtl_lightning.serve")
JSON = "application/json"
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may ask for.

    Args:
        max_body: Bytes of a body.
        max_rows: Candidates of a request.
        body_seconds: Seconds in which a body must have arrived.
        workers: Requests that are worked on at once; 0 for the number of processors.
        reload_every: Seconds between looks at the export's folder; 0 for never.

    Raises:
        ValueError: If a limit is out of range.
    """

    max_body: int = 4 << 20
    max_rows: int = 2000
    body_seconds: float = 10.0
    workers: int = 0
    reload_every: float = 2.0

    def __post_init__(self) -> None:
        for name in ("max_body", "max_rows", "body_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: above 0 is needed")
        for name in ("workers", "reload_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: 0 or more is needed")


class Service:
    """Answers requests from the live export.

    Args:
        live: The export.
        limits: What a request may ask for.

    Example:
        ``uvicorn.run(Service(Live(Path("export"))).app)``
    """

    def __init__(self, live: Live, limits: Limits | None = None) -> None:
        self.live = live
        self.limits = limits or Limits()
        self.measures = Measures()
        self.stopping = False
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
        watch = asyncio.create_task(self._watch())
        yield
        self.stopping = True
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        self.pool.shutdown(wait=True)

    async def _watch(self) -> None:
        while self.limits.reload_every:
            await asyncio.sleep(self.limits.reload_every)
            # Not on the pool of requests: opening takes seconds.
            taken = await asyncio.to_thread(self.live.refresh)
            if taken is not None:
                self.measures.reloaded(taken)
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
            response = Response(orjson.dumps({"error": refusal.reason}), refusal.status, headers, JSON)
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
        return b"".join(parts)

    async def health(self) -> dict[str, bool]:
        """Alive."""
        return {"ok": True}

    async def ready(self) -> Response:
        """The export that is served; 503 while the service stops."""
        bundle = self.live.bundle
        found = {"ready": not self.stopping, "model": bundle.identity, "recipe": bundle.manifest.recipe}
        return Response(orjson.dumps(found), 503 if self.stopping else 200, media_type=JSON)

    async def metrics(self) -> Response:
        """Counters."""
        return Response(self.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def openapi(self) -> dict[str, Any]:
        """The service's description; it follows the export."""
        found = get_openapi(title="mtl_lightning", version=self.live.bundle.identity[:SHOWN], routes=self.app.routes)
        found["paths"]["/score"]["post"] = operation(self.live.bundle, self.limits.max_rows)
        return found


def answer(bundle: Bundle, body: bytes, most: int) -> tuple[bytes, int]:
    """The answer to a body, and its number of rows.

    Args:
        bundle: The export.
        body: See :func:`mtl_lightning.serve.request.read`.
        most: Candidates at most.

    Raises:
        Refused: If the body can't be read or its values can't be encoded.
    """
    question = read(body, tuple(bundle.manifest.columns), most)
    try:
        predictions, score = bundle.score(question.columns, question.rows)
    except DataError as error:
        raise Refused(422, str(error)) from error
    found: dict[str, Any] = {"model": bundle.identity[:SHOWN], "predictions": predictions}
    if score is not None:
        found["score"] = score
    return orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY), question.rows
