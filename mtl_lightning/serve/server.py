"""The process that serves: it stops when it is asked to, after the requests that it has begun."""

import logging
from pathlib import Path

from mtl_lightning.export.extras import need
from mtl_lightning.serve.app import Limits, Service
from mtl_lightning.serve.live import Live

GRACE = 30
"""Seconds that requests may take once the service was asked to stop."""


def run(folder: Path, *, host: str, port: int, threads: int, limits: Limits) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        folder: The export, or a link to it.
        host: Address to listen on.
        port: Port to listen on.
        threads: Threads of one call of the model.
        limits: What a request may ask for.

    Raises:
        MtlError: If the export can't be opened.
    """
    uvicorn = need("uvicorn", "serve")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    service = Service(Live(folder, threads), limits)
    uvicorn.run(
        service.app,
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
        server_header=False,
    )
