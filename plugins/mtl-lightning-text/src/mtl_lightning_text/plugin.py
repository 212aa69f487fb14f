"""What the plugin supplies. It imports no component, so that listing names stays quick."""

from mtl_lightning.hookspecs import hookimpl

MTL_API = 1


@hookimpl
def mtl_features() -> dict[str, str]:
    """One kind of feature."""
    return {"language_model": "mtl_lightning_text.feature:LanguageModel"}


@hookimpl
def mtl_recipes() -> list[str]:
    """The recipe ``womens_clothing_text``."""
    return ["mtl_lightning_text.recipes"]
