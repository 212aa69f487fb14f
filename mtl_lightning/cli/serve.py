"""The command ``serve``: an export as an HTTP service."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtl_lightning.cli.console import first_console, say
from mtl_lightning.config.pairs import split_pair
from mtl_lightning.config.suggest import did_you_mean
from mtl_lightning.errors import MtlError

OPTIONS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "host": (str, "127.0.0.1"),
    "port": (int, 8000),
    "threads": (int, 1),
    "workers": (int, 0),
    "max_body": (int, 4 << 20),
    "max_rows": (int, 2000),
    "body_seconds": (float, 10.0),
    "reload_every": (float, 2.0),
}
PORTS = 65535
LIMITS = ("workers", "max_body", "max_rows", "body_seconds", "reload_every")


def serve(pairs: Sequence[str]) -> None:
    """Serve an export until SIGTERM or Ctrl-C.

    Args:
        pairs: ``export=<folder>``, and ``host=``, ``port=`` and the limits of :data:`OPTIONS`.

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
    from mtl_lightning.serve.app import Limits
    from mtl_lightning.serve.server import run

    limits = Limits(**{name: chosen.pop(name) for name in LIMITS})

    def ready() -> None:
        say(first_console(), f"serving {folder} on http://{chosen['host']}:{chosen['port']} (docs at /docs)")

    run(Path(folder), limits=limits, ready=ready, **chosen)


def _read(key: str, value: str) -> Any:
    kind, _ = OPTIONS[key]
    try:
        found = kind(value)
    except ValueError as error:
        raise MtlError(f"serve: {key} is {value!r}", f"{'an integer' if kind is int else 'a number'}") from error
    least = 0 if key in ("port", "workers", "reload_every") else 1e-9
    most = PORTS if key == "port" else 2**40
    if kind is not str and not least <= found <= most:
        raise MtlError(f"serve: {key} is {value}", "out of range")
    return found
