"""Server process with a graceful stop."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from typing_extensions import override

from mtl_lightning.errors import MtlError
from mtl_lightning.export.extras import need
from mtl_lightning.serve import gateway
from mtl_lightning.serve.app import Service
from mtl_lightning.serve.connection import LimitedConnection
from mtl_lightning.serve.limits import Limits
from mtl_lightning.serve.listener import bind_socket, drain
from mtl_lightning.serve.live_export import LiveExport

if TYPE_CHECKING:
    from mtl_lightning.serve.tracing import Tracing

LOG = logging.getLogger("mtl_lightning.serve")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Signals that stop the service."""

INTERVAL = 0.02
"""Seconds between checks for open connections during a stop."""

LAST = 2.0
"""Seconds for the last answers after the grace."""

OTHER_FILES = 256
"""Largest number of files that a process opens besides its connections."""


class Server(uvicorn.Server):
    """uvicorn's server with a stop that answers all accepted requests.

    Args:
        config: Configuration of uvicorn.
        service: The service.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the sockets, answer accepted requests within the grace, and answer later ones with 503."""
        end = time.monotonic() + self.service.limits.grace
        self.service.stopping = True
        await drain(sockets or [])
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await self._finish_requests(end)
        if self.server_state.connections:
            LOG.warning("%d connections are ended: the grace is over", len(self.server_state.connections))
            await self._refuse_requests()
        await self.lifespan.shutdown()

    async def _finish_requests(self, end: float) -> None:
        connections: set[Any] = self.server_state.connections
        while connections and not self.force_exit and time.monotonic() < end:
            for connection in list(connections):
                if not connection.leaving:
                    connection.shutdown()
            await asyncio.sleep(INTERVAL)

    async def _refuse_requests(self) -> None:
        connections: set[Any] = self.server_state.connections
        for task in list(self.server_state.tasks):
            task.cancel()  # an answer of 503: see Service.score
        for connection in list(connections):
            if not connection.busy:
                connection.refuse(503, "the service stops")
        await self._finish_requests(time.monotonic() + LAST)
        for connection in list(connections):
            connection.transport.abort()


def run(
    folder: Path,
    *,
    host: str,
    port: int,
    threads: int,
    device: str,
    limits: Limits,
    ready: Callable[[], None],
    name: str | None = None,
    token: str | None = None,
    access_log: bool = False,
    otel: str = "",
) -> None:
    """Serve an export until SIGTERM or SIGINT.

    Args:
        folder: Folder of the export, or a link to it.
        host: Address to listen on.
        port: Port to listen on.
        threads: Number of threads of a call of the model.
        device: ``cpu``, ``cuda`` or ``cuda:<number>``.
        limits: Limits on requests, connections and the stop.
        ready: Function that is called when the port is bound.
        name: Name of the model in the Open Inference Protocol; None for the name of the folder.
        token: Token that requests must bring; None for no check.
        access_log: Whether to print a JSON object per request on stdout.
        otel: Address of an OTLP/HTTP receiver for traces; empty for what the ``OTEL_…`` variables say.

    Raises:
        MtlError: If the export cannot be opened, the address cannot be used, or the extra ``otel`` is missing.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if access_log:
        _print_access_log()
    tracing = _tracing(otel)
    live = LiveExport(folder, threads, device)
    service = Service(live, limits, name=name, token=token, access_log=access_log, tracing=tracing)
    _allow_files(limits.max_connections + OTHER_FILES)
    server = Server(_config(service), service)
    with bind_socket(host, port) as listener, _signals(server):
        ready()
        server.run(sockets=[listener])
    if tracing is not None:
        tracing.close()
    if not server.started:
        raise MtlError("serve: the service didn't start", "see the messages above")


def _tracing(url: str) -> "Tracing | None":
    """Return the tracing that an argument or the standard variables ask for; None without any."""
    variables = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if not url and (off or not any(map(os.environ.get, variables))):
        return None
    try:
        for module in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
            need(module, "otel")
    except MtlError as error:
        if url:
            raise
        LOG.warning("traces are not sent: %s", error)
        return None
    from mtl_lightning.serve.tracing import Tracing

    return Tracing(f"{url.rstrip('/')}/v1/traces" if url else None)


def _print_access_log() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    gateway.LOG.addHandler(handler)
    gateway.LOG.setLevel(logging.INFO)
    gateway.LOG.propagate = False


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
    base: type[LimitedConnection]
    try:
        from mtl_lightning.serve import connection_httptools

        base = connection_httptools.LimitedHttpTools
    except ImportError:
        from mtl_lightning.serve import connection_h11

        base = connection_h11.LimitedH11
    return type("Limited", (base,), {"limits": limits, "refused": staticmethod(refused)})


@contextmanager
def _signals(server: Server) -> Iterator[None]:
    """Stop at a signal, also before uvicorn handles it and after uvicorn has raised it once more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, server.handle_exit) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _allow_files(count: int) -> None:
    """Raise the limit of open files of this process, up to the hard limit."""
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
