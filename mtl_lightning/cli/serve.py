"""The command ``serve``: serve an export over HTTP."""

import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mtl_lightning.config import read_arguments
from mtl_lightning.report.render.console import first_console, say

OPTIONS: dict[str, Any] = {
    "host": "127.0.0.1",
    "device": "cpu",
    "name": "",
    "token_file": "",
    "access_log": "off",
    "otel": "",
    "port": 8000,
    "threads": 1,
    "workers": 0,
    "max_body": 4 << 20,
    "max_rows": 2000,
    "max_users": 1_000_000,
    "max_head": 32 << 10,
    "max_headers": 100,
    "max_connections": 1000,
    "head_seconds": 10.0,
    "body_seconds": 10.0,
    "grace": 30.0,
    "reload_every": 2.0,
}
"""Default of each argument."""
ZERO = ("port", "workers", "reload_every", "grace")
"""Arguments that may be 0."""
TEXTS = ("host", "device", "name", "token_file", "access_log", "otel")
"""Arguments that are texts."""
ACCESS_LOGS = ("off", "json")
NOT_LIMITS = (*TEXTS, "port", "threads")


def serve(pairs: Sequence[str]) -> None:
    """Serve an export until SIGTERM or Ctrl-C.

    Args:
        pairs: ``export=<folder>``, and ``host=``, ``port=``, ``device=``, ``name=``, ``token_file=``,
            ``access_log=json``, ``otel=http://…`` and the limits of :data:`OPTIONS`. The exit code is 0 after a signal
            to stop.

    Raises:
        MtlError: If an argument is missing or wrong, or the export can't be opened.
    """
    arguments = read_arguments("serve", pairs, ["export"], list(OPTIONS))
    folder = arguments.own["export"]
    chosen: dict[str, Any] = {name: arguments.own.get(name, OPTIONS[name]) for name in TEXTS}
    for name, default in OPTIONS.items():
        if name not in TEXTS:
            least = 0 if name in ZERO else 1 if isinstance(default, int) else 1e-9
            chosen[name] = arguments.number(name, default, least, 65535 if name == "port" else 2**40)
    chosen["access_log"] = arguments.choose("access_log", ACCESS_LOGS) == "json"
    if chosen["otel"] and not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", chosen["otel"]):
        raise arguments.wrong("otel", "write http://HOST:4318")

    from mtl_lightning.export.extras import need

    for module in ("fastapi", "uvicorn", "orjson", "prometheus_client", "onnxruntime", "onnx"):
        need(module, "serve")
    from mtl_lightning.serve.limits import Limits
    from mtl_lightning.serve.server import run
    from mtl_lightning.serve.token import read_token

    chosen["token"] = read_token(chosen.pop("token_file"))
    limits = Limits(**{name: chosen.pop(name) for name in OPTIONS if name not in NOT_LIMITS})

    def ready() -> None:
        say(first_console(), f"serving {folder} on http://{chosen['host']}:{chosen['port']} (docs at /docs)")

    run(Path(folder), limits=limits, ready=ready, **chosen)
    _leave()


def _leave() -> NoReturn:
    """Exit with 0 at once: the interpreter's own shutdown takes a second, and waits for threads that may hang."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
