"""Connections with limits, over either of uvicorn's HTTP/1.1 protocols, and their graceful end."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson

from mtl_lightning.serve.limits import Limits

AGAIN = 0.05
"""Seconds after which an expired time is looked at again: data may wait that a busy event loop has not read yet."""
QUIET = 1.0
"""Seconds after which an idle connection is closed once the service was asked to stop."""
LINGER = 1.0
"""Seconds for a refused client to read the answer; what it still sends is discarded."""
UNREAD = 30.0
"""Seconds after which a client that does not read its answers is cut off."""
SLACK = 1.0
"""Seconds by which a body's time here is longer than that of ``/score``, whose own answer is better."""
PIPELINED = 32
"""Requests that may wait on one connection."""
IDLE, HEAD, BODY, DONE = "idle", "head", "body", "done"
CLOSE = (b"connection", b"close")
ANSWER = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"


class Guarded(asyncio.Protocol):
    """Mixin for a protocol of uvicorn: limits on heads, bodies, times and connections.

    A subclass keeps ``stage`` true to what the parser has seen, and calls :meth:`watch` when it may have changed.

    Args:
        limits: Set by the subclass that serves.
        refused: Called with the status of each request that is refused here.
    """

    limits: Limits
    refused: Callable[[int], None]
    # Of uvicorn's protocols.
    loop: asyncio.AbstractEventLoop
    transport: Any
    flow: Any
    cycle: Any
    connections: set[Any]
    timeout_keep_alive_task: asyncio.TimerHandle | None

    stage = IDLE
    number = 0
    refusal: tuple[int, str] | None = None
    leaving = False
    _awaited: tuple[int, str] | None = None
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self.refuse(503, f"more than {self.limits.max_connections} connections are open")
            transport.close()
        else:
            self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    @property
    def busy(self) -> bool:
        """Whether a request has been accepted that is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def watch(self) -> None:
        """Start the time of what is awaited from the client now; stop it if nothing is."""
        stage = self.stage
        if stage is BODY:
            seconds = self.limits.body_seconds + SLACK
        elif stage is DONE and self.busy:
            seconds = 0.0
        else:
            seconds = self.limits.head_seconds
        awaited = (self.number, stage) if seconds else None
        if awaited != self._awaited:
            self._awaited = awaited
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if seconds:
                self._timer = self.loop.call_later(seconds, self._late, seconds)

    def _late(self, seconds: float, again: bool = False) -> None:
        if self.flow.read_paused:  # this side is the slow one
            self._timer = self.loop.call_later(seconds, self._late, seconds)
        elif not again:
            self._timer = self.loop.call_later(AGAIN, self._late, seconds, True)
        elif self.stage in (HEAD, BODY):
            what = "request line and headers" if self.stage is HEAD else "body"
            self.refuse(408, f"the {what} didn't arrive in time")
        else:
            self.transport.close()

    def refuse(self, status: int, reason: str) -> None:
        """Read no further: answer what was accepted before, then refuse with a status and close.

        Args:
            status: 4xx or 503.
            reason: What is wrong.
        """
        if self.refusal is not None:
            return
        self.refusal = status, reason
        if self.stage is BODY and not self.busy:  # this request has its answer
            self.transport.close()
            return
        self.refused(status)
        if not self.busy:
            self._farewell()
        elif self.stage is BODY and not self.answer_in_turn(status, reason):
            # The application waits for the rest of this very request.
            begun = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if begun:
                self.transport.abort()
            else:
                self._farewell()

    def answer_in_turn(self, status: int, reason: str) -> bool:
        """Refuse the latest request when it is its turn; False if it is its turn already."""
        return False

    def _farewell(self) -> None:
        if self.refusal is None or self.transport.is_closing():
            return
        status, reason = self.refusal
        body = orjson.dumps({"error": reason})
        self.transport.write(ANSWER % (status, HTTPStatus(status).phrase.encode(), len(body), body))
        # Closing with unread data would reset the connection before the client has read the answer.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(LINGER, self.transport.abort)

    def on_response_complete(self) -> None:
        """Go on to the next request, or say what was refused meanwhile."""
        super().on_response_complete()  # type: ignore[misc]
        if self.refusal is not None and not self.busy:
            self._farewell()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request has arrived that a busy event loop has not read yet."""
        self.timeout_keep_alive_task = self.loop.call_later(AGAIN, super().timeout_keep_alive_handler)  # type: ignore[misc]

    def shutdown(self) -> None:
        """Answer what was accepted, say with the last answer that the connection ends, and close it when it is idle."""
        self.leaving = True
        if self.busy:
            self.last(self.cycle)
        elif self.refusal is not None or self.stage is BODY:
            self.transport.close()
        elif self.stage is not HEAD:
            self._timer_for_quiet(QUIET)

    def _timer_for_quiet(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._quiet, seconds == AGAIN)

    def _quiet(self, again: bool) -> None:
        if self.busy or self.stage not in (IDLE, DONE):
            return
        if again:
            self.transport.close()
        else:
            self._timer_for_quiet(AGAIN)

    def last(self, cycle: Any) -> None:
        """Let an answer say that it is the last of its connection."""
        cycle.keep_alive = False
        cycle.default_headers = [*cycle.default_headers, CLOSE]

    def pause_writing(self) -> None:
        """Give a client that does not read a limited time."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
