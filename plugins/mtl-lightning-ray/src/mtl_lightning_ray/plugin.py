"""Hooks of the plugin; Ray is imported when a recipe chooses it."""

from mtl_lightning.hookspecs import hookimpl

MTL_API = 1


@hookimpl
def mtl_executors() -> dict[str, str]:
    """Executors, by name."""
    return {"ray": "mtl_lightning_ray.executor:RayExecutor"}


@hookimpl
def mtl_launchers() -> dict[str, str]:
    """Launchers, by name."""
    return {"ray": "mtl_lightning_ray.launcher:RayLauncher"}
