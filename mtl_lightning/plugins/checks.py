"""Checks of a plugin's declarations: its API version, names and callbacks."""

import importlib.resources
import inspect
import re
from collections.abc import Iterator
from typing import Any

from mtl_lightning.errors import PluginError
from mtl_lightning.hookspecs import MTL_API
from mtl_lightning.plugins.entries import FOREIGN, FOREIGN_HINT, Entry, PluginInfo, foreign_lightning

NAME = re.compile(r"[\w.-]+")
TARGET = re.compile(r"[\w.]+:[\w.]+")


def check_api(plugin: Any) -> None:
    """Raise PluginError unless the plugin is made for this version of the hooks."""
    api = getattr(plugin, "MTL_API", None)
    if api != MTL_API:
        said = "has no MTL_API" if api is None else f"is made for MTL_API {api}"
        raise PluginError(f"it {said}; this is {MTL_API}")


def refuse_foreign(plugin: Any) -> None:
    """Raise PluginError if the plugin's module uses ``pytorch_lightning``."""
    for name, value in vars(plugin).items() if hasattr(plugin, "__dict__") else ():
        module = value.__name__ if inspect.ismodule(value) else ""
        if module.split(".")[0] == "pytorch_lightning" or (inspect.isclass(value) and foreign_lightning(value)):
            raise PluginError(f"{name} {FOREIGN}", FOREIGN_HINT)


def check_callback(item: Any) -> Any:
    """Return the item; PluginError unless it is a callback of ``lightning.pytorch``."""
    from lightning.pytorch import Callback

    if foreign_lightning(item):
        raise PluginError(f"{type(item).__name__} {FOREIGN}", FOREIGN_HINT)
    if not isinstance(item, Callback):
        raise PluginError(f"{item!r} is not a lightning.pytorch.Callback")
    return item


def read_entries(kind: str, answer: Any, info: PluginInfo) -> Iterator[Entry]:
    """Read the entries that a hook returned.

    Args:
        kind: One of :data:`~mtl_lightning.plugins.entries.KINDS`, or ``recipe``.
        answer: Result of the hook: names → ``"module:Class"``, or packages of recipes.
        info: The plugin.

    Raises:
        PluginError: If the result has another form.

    Example:
        >>> info = PluginInfo("foo", "mtl-foo", "1.0", "mtl_foo")
        >>> [entry.qualified for entry in read_entries("weighter", {"mean": "mtl_foo.mean:Mean"}, info)]
        ['mtl-foo/mean']
    """
    owner = (info.name, info.distribution, info.version)
    if kind == "recipe":
        if not isinstance(answer, list | tuple):
            raise PluginError(f"it gave {type(answer).__name__}, not a list of packages")
        for package in answer:
            for file in sorted(importlib.resources.files(package).iterdir(), key=lambda file: file.name):
                if file.name.endswith(".yaml"):
                    yield Entry(kind, file.name.removesuffix(".yaml"), package, *owner, file=file)
        return
    if not isinstance(answer, dict):
        raise PluginError(f"it gave {type(answer).__name__}, not names → 'module:Class'")
    for name, target in answer.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise PluginError(f"{name!r} can't be the name of a {kind}")
        if not isinstance(target, str) or not TARGET.fullmatch(target):
            raise PluginError(f"the {kind} {name!r} is {target!r}, not 'module:Class'")
        yield Entry(kind, name, target, *owner)
