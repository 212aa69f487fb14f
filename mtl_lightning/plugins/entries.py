"""Records of plugins and of the names that they supply, and imports of their classes."""

import importlib
import inspect
import re
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import Any

from mtl_lightning.errors import PluginError

HOOKS = {
    "source": "mtl_sources",
    "feature": "mtl_features",
    "encoder": "mtl_encoders",
    "architecture": "mtl_architectures",
    "head": "mtl_heads",
    "loss": "mtl_losses",
    "weighter": "mtl_weighters",
    "metric": "mtl_metrics",
    "logger": "mtl_loggers",
    "executor": "mtl_executors",
    "launcher": "mtl_launchers",
}
KINDS = tuple(HOOKS)
INTERFACES = {kind: f"mtl_lightning.interfaces:{kind.capitalize()}" for kind in KINDS} | {
    "feature": "mtl_lightning.data.features.base:Feature",
    "metric": "mtl_lightning.interfaces:TaskMetric",
    "logger": "mtl_lightning.loggers.base:RunLogger",
    "executor": "mtl_lightning.executors.base:Executor",
    "launcher": "mtl_lightning.launchers.base:Launcher",
}
"""Module and class of the contract of each kind."""


def normalize(distribution: str) -> str:
    """Normalize the name of a distribution.

    Example:
        >>> normalize("My_Plugin.X")
        'my-plugin-x'
    """
    return re.sub(r"[-_.]+", "-", distribution).lower()


def foreign_lightning(thing: object) -> bool:
    """True if a class or the class of an object is built on ``pytorch_lightning``, which ``lightning`` rejects."""
    cls = thing if inspect.isclass(thing) else type(thing)
    return any(base.__module__.split(".")[0] == "pytorch_lightning" for base in cls.__mro__)


FOREIGN = "is built on pytorch_lightning, whose classes the Trainer of lightning.pytorch doesn't recognise"
FOREIGN_HINT = "import lightning.pytorch instead"


@dataclass(frozen=True, slots=True)
class Failure:
    """Reason why a plugin is not used.

    Args:
        stage: The failed step: ``load``, ``lightning``, ``api``, ``register``, ``hooks``, or the hook that was called.
        reason: One line.
        traceback: The complete traceback.
    """

    stage: str
    reason: str
    traceback: str


@dataclass(slots=True)
class PluginInfo:
    """One entry point of the group ``mtl_lightning``, loaded or failed.

    Args:
        name: Name of the entry point.
        distribution: Distribution that supplies it, normalized.
        version: Version of that distribution.
        target: Object that the entry point refers to.
        hooks: Hooks it implements.
        failure: Reason why it isn't used, or None.
    """

    name: str
    distribution: str
    version: str
    target: str
    hooks: tuple[str, ...] = ()
    failure: Failure | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name that a plugin supplies.

    Args:
        kind: One of :data:`KINDS`, or ``recipe``.
        name: The plain name.
        target: ``"module:Class"``, or the package of a recipe.
        plugin: Name of the entry point.
        distribution: Distribution that supplies it.
        version: Version of that distribution.
        file: The recipe's file.
    """

    kind: str
    name: str
    target: str
    plugin: str
    distribution: str
    version: str
    file: Traversable | None = field(default=None, compare=False)

    @property
    def qualified(self) -> str:
        """Unambiguous name, ``distribution/name``."""
        return f"{self.distribution}/{self.name}"


def import_class(entry: Entry) -> type:
    """Import the class of an entry and check it against the contract of its kind.

    Raises:
        PluginError: If it can't be imported, is built on ``pytorch_lightning``, or isn't a complete component.
    """
    what = f"{entry.kind} {entry.qualified} ({entry.target})"
    module, _, path = entry.target.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for part in path.split("."):
            target = getattr(target, part)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        foreign = missing and missing != module.split(".")[0]
        hint = f"install what provides {missing!r}, an optional dependency of {entry.distribution}" if foreign else ""
        raise PluginError(f"{what} can't be imported: {error}", hint) from error
    except (Exception, SystemExit) as error:
        raise PluginError(f"{what} can't be imported: {type(error).__name__}: {error}") from error
    if not inspect.isclass(target):
        raise PluginError(f"{what} is not a class")
    if foreign_lightning(target):
        raise PluginError(f"{what} {FOREIGN}", FOREIGN_HINT)
    module, _, path = INTERFACES[entry.kind].partition(":")
    contract = getattr(importlib.import_module(module), path)
    if not issubclass(target, contract):
        raise PluginError(
            f"{what} is not a {contract.__name__}", f"derive it from {contract.__module__}.{contract.__qualname__}"
        )
    if inspect.isabstract(target):
        undefined = ", ".join(sorted(getattr(target, "__abstractmethods__", ())))
        raise PluginError(f"{what} does not define {undefined}")
    return target
