"""Limited connections over uvicorn's h11 protocol, for platforms without httptools."""

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from mtl_lightning.serve.connection import BODY, DONE, HEAD, IDLE, LimitedConnection

WAITING = 1 << 18
"""Largest number of bytes of later requests that wait on a connection."""


class LimitedH11(LimitedConnection, H11Protocol):
    """HTTP/1.1 parsed by h11, whose buffer is limited by ``h11_max_incomplete_event_size``."""

    @override
    def data_received(self, data: bytes) -> None:
        """Parse data, and refuse too many waiting requests."""
        if self.refusal is None:
            super().data_received(data)
        if self.refusal is None and self.busy and len(self.conn.trailing_data[0]) > WAITING:
            self.refuse(503, f"more than {WAITING:,} bytes of requests wait on this connection")

    def handle_events(self) -> None:
        """Update the stage, and refuse a complete head that is too large."""
        before = self.cycle
        super().handle_events()
        if self.refusal is not None:
            return
        self.stage = self._stage()
        if self.cycle is not before:
            self.number += 1
            self._check_head()
            if self.leaving:
                self.mark_last(self.cycle)
        if self.refusal is None:
            self.watch()

    def _stage(self) -> str:
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            return BODY
        if state is not h11.IDLE:
            return DONE
        return HEAD if self.conn.trailing_data[0] else IDLE

    def _check_head(self) -> None:
        size = sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.scope["raw_path"])
        fault = ""
        if len(self.headers) > self.limits.max_headers:
            fault = f"the request has more than {self.limits.max_headers} headers"
        elif size > self.limits.max_head:
            fault = f"the request line and headers are larger than {self.limits.max_head:,} bytes"
        if fault:
            self.stage = BODY  # its application has not run yet and never will
            self.refuse(431, fault)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that the parser cannot read."""
        if len(self.conn.trailing_data[0]) > self.limits.max_head:
            self.refuse(431, f"the request line and headers are larger than {self.limits.max_head:,} bytes")
        else:
            self.refuse(400, msg)
