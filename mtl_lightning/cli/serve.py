"""The command ``serve``: serve an export over HTTP."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mtl_lightning.config.pairs import split_pair
from mtl_lightning.errors import MtlError, did_you_mean
from mtl_lightning.report.render.console import first_console, say

OPTIONS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "host": (str, "127.0.0.1"),
    "port": (int, 8000),
    "threads": (int, 1),
    "workers": (int, 0),
    "max_body": (int, 4 << 20),
    "max_rows": (int, 2000),
    "max_head": (int, 32 << 10),
    "max_headers": (int, 100),
    "max_connections": (int, 1000),
    "head_seconds": (float, 10.0),
    "body_seconds": (float, 10.0),
    "grace": (float, 30.0),
    "reload_every": (float, 2.0),
}
PORTS = 65535
NOT_LIMITS = ("host", "port", "threads")


def serve(pairs: Sequence[str]) -> None:
    """Serve an export until SIGTERM or Ctrl-C.

    Args:
        pairs: ``export=<folder>``, and ``host=``, ``port=`` and the limits of :data:`OPTIONS`. The exit code is 0
            after a signal to stop.

    Raises:
        MtlError: If an argument is missing or wrong, or the export can't be opened.
    """
    chosen: dict[str, Any] = {name: default for name, (_, default) in OPTIONS.items()}
    folder = ""
    for pair in pairs:
        key, value = split_pair(pair)
        if key == "export":
            folder = value
        elif key not in OPTIONS:
            raise MtlError(f"serve: unknown argument {key!r}", did_you_mean(key, ["export", *OPTIONS]))
        else:
            chosen[key] = _read(key, value)
    if not folder:
        raise MtlError("serve needs export=", "serve export=FOLDER port=8000")

    from mtl_lightning.export.extras import need

    for module in ("fastapi", "uvicorn", "orjson", "prometheus_client", "onnxruntime", "onnx"):
        need(module, "serve")
    from mtl_lightning.serve.limits import Limits
    from mtl_lightning.serve.server import run

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


def _read(key: str, value: str) -> Any:
    kind, _ = OPTIONS[key]
    try:
        number = kind(value)
    except ValueError as error:
        raise MtlError(f"serve: {key} is {value!r}", f"{'an integer' if kind is int else 'a number'}") from error
    least = 0 if key in ("port", "workers", "reload_every", "grace") else 1e-9
    most = PORTS if key == "port" else 2**40
    if kind is not str and not least <= number <= most:
        raise MtlError(f"serve: {key} is {value}", "out of range")
    return number
