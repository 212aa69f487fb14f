"""Compose → validate → typed, resolved configuration.

Composing is light; validating imports the chosen components, and so torch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mtl_lightning.config.pairs import Arguments, read_arguments
from mtl_lightning.config.recipe import Composed, compose, dump, recipe_text
from mtl_lightning.config.record import Component, Config, DataConfig, RunConfig

if TYPE_CHECKING:
    from mtl_lightning.plugins.names import Registry


def validate(plain: Mapping[str, Any], registry: "Registry | None" = None, *, rows: bool = True) -> Config:
    """See :func:`mtl_lightning.config.checks.validate`, which is imported on use."""
    from mtl_lightning.config import checks

    return checks.validate(plain, registry, rows=rows)


__all__ = [
    "Arguments",
    "Component",
    "Composed",
    "Config",
    "DataConfig",
    "RunConfig",
    "compose",
    "dump",
    "read_arguments",
    "recipe_text",
    "validate",
]
