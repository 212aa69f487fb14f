"""Guarded connections over uvicorn's httptools protocol, the one that is used wherever httptools is installed."""

from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mtl_lightning.serve.guarded import BODY, CLOSE, DONE, HEAD, PIPELINED, Guarded


class GuardedHttpTools(Guarded, HttpToolsProtocol):
    """HTTP/1.1 parsed by llhttp, which has no limits of its own."""

    _held = 0
    """Bytes since the parser last finished a head, a part of a body or a message: what it may be holding."""
    _fault: tuple[int, str] | None = None

    def data_received(self, data: bytes) -> None:
        """Parse what arrives, at most ``max_head`` bytes at a time unless the parser gets on."""
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
        """A head begins."""
        self.stage = HEAD
        self.number += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete: the request is accepted unless it has too many headers."""
        self._held = 0
        if len(self.headers) > self.limits.max_headers:
            self._fault = 431, f"the request has more than {self.limits.max_headers} headers"
        elif len(self.pipeline) >= PIPELINED:
            self._fault = 503, f"more than {PIPELINED} requests wait on this connection"
        if self._fault:
            raise ValueError(self._fault[1])  # ends the parser, which reports an error in its turn
        super().on_headers_complete()
        self.stage = BODY
        if self.leaving:
            self.last(self.cycle)

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        self._held = 0
        self.stage = DONE
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read; requests before it are answered first."""
        self.refuse(*(self._fault or (400, msg)))

    def answer_in_turn(self, status: int, reason: str) -> bool:
        """Refuse the latest request when it is its turn; False if it is its turn already."""
        if not self.pipeline or self.pipeline[0][0] is not self.cycle:
            return False
        self.pipeline[0] = self.cycle, _Refusing(status, reason)
        return True


class _Refusing:
    """An application that refuses."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.body = orjson.dumps({"error": reason})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        length = b"%d" % len(self.body)
        headers = [(b"content-type", b"application/json"), (b"content-length", length), CLOSE]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
