"""Runs that are compared have seen the same rows: what was prepared is remembered, and asked for when they go on."""

import json
from pathlib import Path

from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.errors import MtlError
from mtl_lightning.files import write_atomic

FILE = "data.json"


def check_data_identity(out: Path, prepared: Prepared) -> None:
    """Remember a directory's data, or check that they are those of before.

    Args:
        out: Directory of a comparison or a study.
        prepared: Its recipe's data.

    Raises:
        MtlError: If rows or labels changed since its first run.
    """
    path, told = out / FILE, {"data": prepared.identity}
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != told:
        raise MtlError(f"{out} holds runs on other data", "rows or labels changed since: choose another out=")
    write_atomic(path, json.dumps(told) + "\n")
