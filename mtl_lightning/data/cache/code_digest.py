"""Digests of code; cached results are recomputed when the code changes."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from mtl_lightning import data

HERE = Path(str(data.__file__)).parent
"""Folder of the package ``mtl_lightning.data``."""
UNRELATED = ("quality", "simulator", "sources")
"""Subpackages that don't affect encoded values; a source's code is part of the source's fingerprint instead."""


def digest(files: Iterable[Path]) -> str:
    """Digest of the contents of files, independent of their order.

    Example:
        >>> from mtl_lightning.data.cache import locks
        >>> here, other = file_of(Path), Path(locks.__file__)
        >>> digest([here, other]) == digest([other, here])
        True
    """
    contents = hashlib.sha256()
    for file in sorted(set(files)):
        contents.update(file.read_bytes())
    return contents.hexdigest()


def file_of(kind: type) -> Path:
    """File with the definition of a class.

    Example:
        >>> from mtl_lightning.data.sources.table import Table
        >>> file_of(Table).name
        'table.py'
    """
    return Path(str(sys.modules[kind.__module__].__file__))


def encoding_code() -> list[Path]:
    """All files of the package that affect encoded values.

    Example:
        >>> {"prepare.py", "vocabulary.py", "schema.py", "steps.py"} <= {file.name for file in encoding_code()}
        True
    """
    own = [file for file in HERE.rglob("*.py") if file.relative_to(HERE).parts[0] not in UNRELATED]
    return [*own, *(HERE.with_name(name) for name in ("schema.py", "steps.py", "task_kinds.py"))]
