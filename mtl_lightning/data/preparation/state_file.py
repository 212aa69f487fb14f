"""The file of fitted transforms: JSON that is written atomically and checked when it is read."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mtl_lightning.data.features.state_structure import check_transforms
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.structure import StructureError, read_json

LARGEST = 8 << 30
"""Largest number of bytes of a file of transforms."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the plain containers of transforms as JSON; readers see the old file or the new one.

    Raises:
        DataError: If a value would be refused when it is read, such as an infinite option.
    """
    try:
        check_transforms(state)
    except StructureError as error:
        raise DataError(error.message, error.hint) from error
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)


def read_state(path: Path) -> Any:
    """Read the plain containers that :func:`write_state` wrote.

    Raises:
        StructureError: If the file is not JSON, or too large.
        FileNotFoundError: If there is no such file.
    """
    return read_json(path, LARGEST)


@contextmanager
def reading_state(path: Path) -> Iterator[None]:
    """Turn any exception while a file of transforms is read into an error that names the file.

    Raises:
        DataError: In place of any exception, including exceptions of plugins' transforms.
    """
    try:
        yield
    except MtlError as error:
        raise DataError(f"{path}: no fitted transforms: {error.message}", error.hint) from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no fitted transforms: there is no such file") from error
    except Exception as error:
        raise DataError(f"{path}: no fitted transforms: {type(error).__name__}: {error}") from error
