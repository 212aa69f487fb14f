"""Limited connections over uvicorn's httptools protocol, which is used if httptools is installed."""

from typing import Any

import orjson
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mtl_lightning.serve.connection import BODY, CLOSE, DONE, HEAD, PIPELINED, LimitedConnection


class LimitedHttpTools(LimitedConnection, HttpToolsProtocol):
    """HTTP/1.1 parsed by llhttp, which has no limits of its own."""

    _held = 0
    """Number of bytes since the last complete head, part of a body or message, which the parser may hold."""
    _fault: tuple[int, str] | None = None

    @override
    def data_received(self, data: bytes) -> None:
        """Parse data; refuse more than ``max_head`` bytes without progress of the parser."""
        most = self.limits.max_head
        while data and self.refusal is None:
            piece = data[: most - self._held]
            data = data[len(piece) :]
            self._held += len(piece)
            super().data_received(piece)
            if self._held >= most:
                self.refuse(431, f"the request line and headers are larger than {most:,} bytes")
        if self.refusal is None:
            self.watch()

    def on_message_begin(self) -> None:
        """Note the beginning of a head."""
        self.stage = HEAD
        self.number += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Accept a request, unless it has too many headers or too many requests wait."""
        self._held = 0
        if len(self.headers) > self.limits.max_headers:
            self._fault = 431, f"the request has more than {self.limits.max_headers} headers"
        elif len(self.pipeline) >= PIPELINED:
            self._fault = 503, f"more than {PIPELINED} requests wait on this connection"
        if self._fault:
            raise ValueError(self._fault[1])  # ends the parser, which then reports an error
        super().on_headers_complete()
        self.stage = BODY
        if self.leaving:
            self.mark_last(self.cycle)

    def on_body(self, body: bytes) -> None:
        """Note a part of a body."""
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        self._held = 0
        self.stage = DONE
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that the parser cannot read; requests before it are answered first."""
        self.refuse(*(self._fault or (400, msg)))

    @override
    def answer_in_turn(self, status: int, reason: str) -> bool:
        if not self.pipeline or self.pipeline[0][0] is not self.cycle:
            return False
        self.pipeline[0] = self.cycle, _Refusal(status, reason)
        return True


class _Refusal:
    """An ASGI application that refuses every request."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.body = orjson.dumps({"error": reason})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        length = b"%d" % len(self.body)
        headers = [(b"content-type", b"application/json"), (b"content-length", length), CLOSE]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
