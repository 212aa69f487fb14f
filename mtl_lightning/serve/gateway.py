"""ASGI middleware of the service: token, request ids and access log."""

import hashlib
import hmac
import logging
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "X-Request-Id"
"""Header with the id of a request, in requests and answers."""

SPAN = "mtl.span"
"""Key of a request's scope with its :class:`~mtl_lightning.serve.tracing.RequestSpan`, if it is traced."""

ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""Ids of requests that are taken over."""

OPEN = ("/health", "/ready", "/v2/health/live", "/v2/health/ready")
"""Routes that need no token: load balancers and orchestrators ask them."""

LONGEST = 200
"""Largest number of characters of a path in the log."""

LOG = logging.getLogger("mtl_lightning.serve.gateway")
"""Access log: a JSON object per request."""


class Gateway:
    """Middleware that checks a bearer token, gives every answer the id of its request, and writes the access log.

    The query of a URL, headers and bodies are never logged.

    Args:
        app: The application.
        refused: Function that is called with the status of each refused request.
        token: Token that requests must bring; None for no check.
        log: Whether to write the access log.

    Example:
        ``app.add_middleware(Gateway, refused=metrics.refused, token=None, log=True)``
    """

    def __init__(
        self, app: ASGIApp, *, refused: Callable[[int], None], token: str | None = None, log: bool = False
    ) -> None:
        self.app = app
        self.refused = refused
        self._expected = None if token is None else _digest(token)
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        identity = given if ACCEPTED.fullmatch(given) else uuid.uuid4().hex
        answered = {"status": 500, "bytes": 0}  # an error of the application has no answer here

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered["status"] = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = identity
            elif message["type"] == "http.response.body":
                answered["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            if self._allows(scope["path"], headers):
                await self.app(scope, receive, send_with_id)
            else:
                self.refused(401)
                await _refuse(send_with_id)
        finally:
            if self.log:
                LOG.info(orjson.dumps(_entry(scope, identity, answered, time.perf_counter() - start)).decode())

    def _allows(self, path: str, headers: Headers) -> bool:
        if self._expected is None or path in OPEN:
            return True
        # Digests have equal lengths, so that the comparison takes the same time for every token.
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return hmac.compare_digest(self._expected, _digest(token.strip())) and scheme.lower() == "bearer"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


async def _refuse(send: Send) -> None:
    body = orjson.dumps({"error": "a valid token is needed: send the header Authorization: Bearer <token>"})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"www-authenticate", b"Bearer"),
        (b"connection", b"close"),  # do not wait for the body
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _entry(scope: Scope, identity: str, answered: dict[str, int], seconds: float) -> dict[str, Any]:
    client, span = scope.get("client"), scope.get(SPAN)
    traced = {} if span is None else {"trace": span.trace_id}
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "id": identity,
        "client": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"][:LONGEST],
        "status": answered["status"],
        "seconds": round(seconds, 6),
        "bytes": answered["bytes"],
        **traced,
    }
