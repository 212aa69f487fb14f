"""Names that the plugin supplies. It must import no component, so that listing names stays quick."""

from mtl_lightning.hookspecs import hookimpl

MTL_API = 1


@hookimpl
def mtl_weighters() -> dict[str, str]:
    """One weighter."""
    return {"cov": "mtl_lightning_template.cov:Cov"}


@hookimpl
def mtl_recipes() -> list[str]:
    """The recipe ``ads_cov``."""
    return ["mtl_lightning_template.recipes"]
