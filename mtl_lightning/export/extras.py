"""Imports of optional packages, which only exports and serving need."""

import importlib
from types import ModuleType

from mtl_lightning.errors import MtlError


def need(module: str, extra: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        module: Name of the module.
        extra: Extra of this package that installs it.

    Raises:
        MtlError: If it is not installed; the message names the extra.

    Example:
        >>> need("json", "export").__name__
        'json'
        >>> need("no_such_package", "export")
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: no_such_package is not installed (pip install 'mtl-lightning[export]')
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MtlError(f"{module} is not installed", f"pip install 'mtl-lightning[{extra}]'") from error
