"""The file of fitted transforms: written whole, read as data, refused with its place if anything in it is wrong."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mtl_lightning.data.features.saved import check_transforms
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.structure import StructureError, read_json

LARGEST = 8 << 30
"""Bytes that such a file may have."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the plain containers of transforms as JSON; a reader sees the old file or the new one.

    Raises:
        DataError: If they hold what :func:`read_state` refuses, such as an option that is infinite.
    """
    try:
        check_transforms(state)
    except StructureError as error:
        raise DataError(error.message, error.hint) from error
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)


def read_state(path: Path) -> Any:
    """Read what :func:`write_state` wrote."""
    return read_json(path, LARGEST)


@contextmanager
def reading_state(path: Path) -> Iterator[None]:
    """Turn every failure of reading a file of transforms into one error that names it.

    Raises:
        DataError: Instead of any exception of the block, those of plugins' transforms included.
    """
    try:
        yield
    except MtlError as error:
        raise DataError(f"{path}: no fitted transforms: {error.message}", error.hint) from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no fitted transforms: there is no such file") from error
    except Exception as error:
        raise DataError(f"{path}: no fitted transforms: {type(error).__name__}: {error}") from error
