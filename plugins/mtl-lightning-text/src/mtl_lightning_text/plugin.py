"""Hooks of the plugin; no component is imported, so that listing names is fast."""

from mtl_lightning.hookspecs import hookimpl

MTL_API = 1


@hookimpl
def mtl_features() -> dict[str, str]:
    """The kind of feature ``language_model``."""
    return {"language_model": "mtl_lightning_text.feature:LanguageModel"}


@hookimpl
def mtl_recipes() -> list[str]:
    """The recipe ``womens_clothing_text``."""
    return ["mtl_lightning_text.recipes"]
