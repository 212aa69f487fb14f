"""A service in a process of its own, and requests for it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx


class Server:
    """A service in a separate process.

    Args:
        export: Directory of the export.
        without: Modules that cannot be imported in it.
        options: Arguments of the command.
    """

    def __init__(self, export: Path, without: Sequence[str] = (), **options: Any) -> None:
        with socket.socket() as free_socket:
            free_socket.bind(("127.0.0.1", 0))
            self.port = free_socket.getsockname()[1]
        pairs = [f"{name}={value}" for name, value in options.items()]
        code = f"import sys; sys.modules.update(dict.fromkeys({list(without)!r})); "
        code += "from mtl_lightning.cli.app import main; main()"
        start = ["-c", code] if without else ["-m", "mtl_lightning"]
        self.process = subprocess.Popen(
            [sys.executable, *start, "serve", f"export={export}", f"port={self.port}", *pairs],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        deadline = time.monotonic() + 120
        while True:
            try:
                if self.client.get("/ready").status_code == 200:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, self.process.stderr
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def stop(self) -> str:
        """Ask it to stop; what it said on stderr."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=60)[1].decode()
