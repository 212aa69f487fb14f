"""Multi-task learning for recommender systems, on Lightning.

Names are imported on first use (PEP 562), so that importing the package does not import torch.
"""

import sys
from importlib import import_module

TYPE_CHECKING = False  # as of the module typing, which takes longer to import than this package
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

    from mtl_lightning.batch import Batch, Encoded, Output, Target
    from mtl_lightning.build import build_module, build_network
    from mtl_lightning.compare.comparison import Comparison
    from mtl_lightning.config import Component, Config, compose, validate
    from mtl_lightning.data.datamodule import DataModule
    from mtl_lightning.data.preparation.split import SplitSpec
    from mtl_lightning.errors import ConfigError, DataError, MtlError, PluginError
    from mtl_lightning.fitting.fit import FitResult, fit, resume
    from mtl_lightning.interfaces import Architecture, Encoder, Head, Loss, RawSchema, Source, TaskMetric, Weighter
    from mtl_lightning.plugins import registry
    from mtl_lightning.schema import Field, Schema, Task
    from mtl_lightning.training.module import MultiTaskModule
    from mtl_lightning.training.network import Network
    from mtl_lightning.training.optimizer import OptimizerConfig

__version__: str

_HOMES = {
    name: module
    for module, names in {
        "batch": "Batch Encoded Output Target",
        "build": "build_module build_network",
        "compare.comparison": "Comparison",
        "config": "Component Config compose validate",
        "data.datamodule": "DataModule",
        "data.preparation.split": "SplitSpec",
        "errors": "ConfigError DataError MtlError PluginError",
        "fitting.fit": "FitResult fit resume",
        "interfaces": "Architecture Encoder Head Loss RawSchema Source TaskMetric Weighter",
        "plugins": "registry",
        "schema": "Field Schema Task",
        "training.module": "MultiTaskModule",
        "training.network": "Network",
        "training.optimizer": "OptimizerConfig",
    }.items()
    for name in names.split()
}

__all__ = [
    "Architecture",
    "Batch",
    "Comparison",
    "Component",
    "Config",
    "ConfigError",
    "DataError",
    "DataModule",
    "Encoded",
    "Encoder",
    "Field",
    "FitResult",
    "Head",
    "Loss",
    "MtlError",
    "MultiTaskModule",
    "Network",
    "OptimizerConfig",
    "Output",
    "PluginError",
    "RawSchema",
    "Schema",
    "Source",
    "SplitSpec",
    "Target",
    "Task",
    "TaskMetric",
    "Weighter",
    "__version__",
    "build_module",
    "build_network",
    "compose",
    "fit",
    "registry",
    "resume",
    "validate",
]


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        return import_module("importlib.metadata").version("mtl-lightning")
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _OldNames:
    """Finder of modules under their old names, asked after all others; it imports the table of names on a miss only."""

    @staticmethod
    def find_spec(name: str, _path: "Any" = None, _target: "Any" = None) -> "ModuleSpec | None":
        if not name.startswith(f"{__name__}."):
            return None
        from mtl_lightning.moved import find_moved

        return find_moved(name)


sys.meta_path.append(_OldNames)
