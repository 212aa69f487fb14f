"""Identity of the data of a comparison or a study: all of its runs see the same rows."""

import json
from pathlib import Path

from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.errors import MtlError
from mtl_lightning.files import write_atomic

FILE = "data.json"


def check_data_identity(out: Path, prepared: Prepared) -> None:
    """Save the identity of the data at first, and check it whenever the comparison or study continues.

    Args:
        out: Directory of a comparison or a study.
        prepared: The prepared data of its recipe.

    Raises:
        MtlError: If rows or labels have changed since the first run.
    """
    path, content = out / FILE, {"data": prepared.identity}
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != content:
        raise MtlError(f"{out} holds runs on other data", "rows or labels have changed since: choose another out=")
    write_atomic(path, json.dumps(content) + "\n")
