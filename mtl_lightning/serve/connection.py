"""Connections with limits and a graceful end, over either of uvicorn's HTTP/1.1 protocols."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from typing_extensions import override

from mtl_lightning.serve.limits import Limits

AGAIN = 0.05
"""Seconds after which an expired timer is checked again: a busy event loop may not have read all data yet."""

QUIET = 1.0
"""Seconds after which an idle connection is closed while the service stops."""

LINGER = 1.0
"""Seconds for a refused client to read the answer; further data is discarded."""

UNREAD = 30.0
"""Seconds after which a client that does not read its answers is disconnected."""

SLACK = 1.0
"""Seconds by which the limit of a body exceeds the limit of ``/score``, which has a better answer."""

PIPELINED = 32
"""Largest number of requests that wait on a connection."""

IDLE, HEAD, BODY, DONE = "idle", "head", "body", "done"
"""Stages of the latest request."""

CLOSE = (b"connection", b"close")
ANSWER = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"


class LimitedConnection(asyncio.Protocol):
    """Mixin for a protocol of uvicorn: limits on heads, bodies, times and connections.

    A subclass sets ``stage`` to the state of the parser, and calls :meth:`watch` when it may have changed.

    Args:
        limits: Limits, which the subclass sets.
        refused: Function that is called with the status of each refused request.
    """

    limits: Limits
    refused: Callable[[int], None]
    # Attributes of uvicorn's protocols.
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

    @override
    def connection_made(self, transport: Any) -> None:
        """Accept a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self.refuse(503, f"more than {self.limits.max_connections} connections are open")
            transport.close()
        else:
            self.watch()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    @property
    def busy(self) -> bool:
        """True while an accepted request is not answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def watch(self) -> None:
        """Start the timer of the data that is awaited from the client; stop it if no data is awaited."""
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
        if self.flow.read_paused:  # the service is slow, not the client
            self._timer = self.loop.call_later(seconds, self._late, seconds)
        elif not again:
            self._timer = self.loop.call_later(AGAIN, self._late, seconds, True)
        elif self.stage in (HEAD, BODY):
            part = "request line and headers" if self.stage is HEAD else "body"
            self.refuse(408, f"the {part} didn't arrive in time")
        else:
            self.transport.close()

    def refuse(self, status: int, reason: str) -> None:
        """Stop reading, answer the requests that were accepted before, and close after an answer with a status.

        Args:
            status: HTTP status, 4xx or 503.
            reason: Text of the answer.
        """
        if self.refusal is not None:
            return
        self.refusal = status, reason
        if self.stage is BODY and not self.busy:  # the request is answered
            self.transport.close()
            return
        self.refused(status)
        if not self.busy:
            self._send_refusal()
        elif self.stage is BODY and not self.answer_in_turn(status, reason):
            # The application waits for the rest of this request.
            started = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if started:
                self.transport.abort()
            else:
                self._send_refusal()

    def answer_in_turn(self, status: int, reason: str) -> bool:
        """Refuse the latest request after the ones before it; return False if there are none before it."""
        return False

    def _send_refusal(self) -> None:
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
        """Continue with the next request, or send a refusal that waits."""
        super().on_response_complete()  # type: ignore[misc]
        if self.refusal is not None and not self.busy:
            self._send_refusal()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request has arrived that the event loop has not read yet."""
        self.timeout_keep_alive_task = self.loop.call_later(AGAIN, super().timeout_keep_alive_handler)  # type: ignore[misc]

    def shutdown(self) -> None:
        """Answer accepted requests, announce the end with the last answer, and close the connection when it is idle."""
        self.leaving = True
        if self.busy:
            self.mark_last(self.cycle)
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

    def mark_last(self, cycle: Any) -> None:
        """Let an answer announce that it is the last of its connection."""
        cycle.keep_alive = False
        cycle.default_headers = [*cycle.default_headers, CLOSE]

    @override
    def pause_writing(self) -> None:
        """Start the timer of a client that does not read."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        """Stop the timer of a client that did not read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
