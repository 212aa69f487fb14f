"""The process that serves: it stops when it is asked to, after the requests that it has begun."""

import logging
import socket
from collections.abc import Callable
from pathlib import Path

from mtl_lightning.errors import MtlError
from mtl_lightning.export.extras import need
from mtl_lightning.serve.app import Limits, Service
from mtl_lightning.serve.live import Live

GRACE = 30
"""Seconds that requests may take once the service was asked to stop."""


def run(folder: Path, *, host: str, port: int, threads: int, limits: Limits, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        folder: The export, or a link to it.
        host: Address to listen on.
        port: Port to listen on.
        threads: Threads of one call of the model.
        limits: What a request may ask for.
        ready: Called when the port is this process's.

    Raises:
        MtlError: If the export can't be opened, or the address can't be listened on.
    """
    uvicorn = need("uvicorn", "serve")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    service = Service(Live(folder, threads), limits)
    config = uvicorn.Config(
        service.app,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
        server_header=False,
    )
    with _bound(host, port) as listener:
        ready()
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    if not server.started:
        raise MtlError("serve: the service didn't start", "the lines above say why")


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise MtlError(f"serve: can't listen on {host}: {error.strerror or error}", "set host=") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise MtlError(
            f"serve: can't listen on {host}:{port}: {error.strerror or error}", "set another port="
        ) from error
    return listener
