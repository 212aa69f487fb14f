"""The serving process, and its graceful stop."""

import asyncio
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from mtl_lightning.errors import MtlError
from mtl_lightning.serve.app import Service
from mtl_lightning.serve.guarded import Guarded
from mtl_lightning.serve.limits import Limits
from mtl_lightning.serve.listener import bound, drain
from mtl_lightning.serve.live import Live

LOG = logging.getLogger("mtl_lightning.serve")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOK = 0.02
"""Seconds between looks at what is still open during a stop."""
LAST = 2.0
"""Seconds for the last answers to be sent once the grace is over."""
OTHER_FILES = 256
"""Files that a process opens besides its connections, at most."""


class Server(uvicorn.Server):
    """uvicorn's server with a stop that loses no accepted request.

    Args:
        config: uvicorn's configuration.
        service: What is served.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, answer what has been accepted, and refuse with 503 what takes longer."""
        end = time.monotonic() + self.service.limits.grace
        self.service.stopping = True
        await drain(sockets or [])
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        await self._answered(end)
        if self.server_state.connections:
            LOG.warning("%d connections are ended: the grace is over", len(self.server_state.connections))
            await self._refused()
        await self.lifespan.shutdown()

    async def _answered(self, end: float) -> None:
        connections: set[Any] = self.server_state.connections
        while connections and not self.force_exit and time.monotonic() < end:
            for one in list(connections):
                if not one.leaving:
                    one.shutdown()
            await asyncio.sleep(LOOK)

    async def _refused(self) -> None:
        connections: set[Any] = self.server_state.connections
        for task in list(self.server_state.tasks):
            task.cancel()  # an answer of 503: see Service.score
        for one in list(connections):
            if not one.busy:
                one.refuse(503, "the service stops")
        await self._answered(time.monotonic() + LAST)
        for one in list(connections):
            one.transport.abort()


def run(folder: Path, *, host: str, port: int, threads: int, limits: Limits, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        folder: The export, or a link to it.
        host: Address to listen on.
        port: Port to listen on.
        threads: Threads of one call of the model.
        limits: Limits on requests, connections and the stop.
        ready: Called when the port is this process's.

    Raises:
        MtlError: If the export can't be opened, or the address can't be listened on.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    service = Service(Live(folder, threads), limits)
    _allow_files(limits.max_connections + OTHER_FILES)
    server = Server(_config(service), service)
    with bound(host, port) as listener, _signals(server):
        ready()
        server.run(sockets=[listener])
    if not server.started:
        raise MtlError("serve: the service didn't start", "the lines above say why")


def _config(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        service.app,
        http=_protocol(service.limits, service.measures.refused),
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        h11_max_incomplete_event_size=service.limits.max_head,
    )


def _protocol(limits: Limits, refused: Callable[[int], None]) -> type[asyncio.Protocol]:
    base: type[Guarded]
    try:
        from mtl_lightning.serve import guarded_httptools

        base = guarded_httptools.GuardedHttpTools
    except ImportError:
        from mtl_lightning.serve import guarded_h11

        base = guarded_h11.GuardedH11
    return type("Limited", (base,), {"limits": limits, "refused": staticmethod(refused)})


@contextmanager
def _signals(server: Server) -> Iterator[None]:
    """Stop at a signal, also before uvicorn listens for it, and after it has: it raises the signal once more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, server.handle_exit) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _allow_files(count: int) -> None:
    """Raise the limit of open files of this process, as far as it may."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < count:
        LOG.warning("the process may open %d files: fewer than max_connections may be open at once", allowed)
