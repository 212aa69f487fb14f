"""Digests of code, so that what it made is made again when it changes."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from mtl_lightning import data

HERE = Path(str(data.__file__)).parent
"""Folder of ``data``."""
UNRELATED = ("quality", "simulator", "sources")
"""Folders of ``data`` that don't affect encoded values; a source's own code is part of the source's fingerprint."""


def digest(files: Iterable[Path]) -> str:
    """A digest of files, whatever their order.

    Example:
        >>> from mtl_lightning.data.cache import locks
        >>> here, other = file_of(Path), Path(locks.__file__)
        >>> digest([here, other]) == digest([other, here])
        True
    """
    found = hashlib.sha256()
    for file in sorted(set(files)):
        found.update(file.read_bytes())
    return found.hexdigest()


def file_of(kind: type) -> Path:
    """The file in which a class is written.

    Example:
        >>> from mtl_lightning.data.sources.table import Table
        >>> file_of(Table).name
        'table.py'
    """
    return Path(str(sys.modules[kind.__module__].__file__))


def encoding_code() -> list[Path]:
    """Every file of the package that affects encoded values.

    Example:
        >>> {"prepare.py", "vocabulary.py", "schema.py", "task_kinds.py"} <= {file.name for file in encoding_code()}
        True
    """
    own = [file for file in HERE.rglob("*.py") if file.relative_to(HERE).parts[0] not in UNRELATED]
    return [*own, *(HERE.with_name(name) for name in ("schema.py", "task_kinds.py"))]
