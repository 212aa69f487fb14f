"""Hooks of the plugin; no component is imported, so that listing names is fast."""

from collections.abc import Mapping
from typing import Any

from mtl_lightning.hookspecs import hookimpl

MTL_API = 1
NAME = "torchrec"


@hookimpl
def mtl_encoders() -> dict[str, str]:
    """The encoder, by name."""
    return {NAME: "mtl_lightning_torchrec.encoder:TorchRecEncoder"}


@hookimpl
def mtl_callbacks(config: Mapping[str, Any]) -> list[Any]:
    """A callback that refuses settings which tables updated in the backward pass do not support."""
    if config["encoder"]["name"].rpartition("/")[2] != NAME:
        return []
    from mtl_lightning_torchrec.limits import Limits

    return [Limits(config["run"].get("init_from"))]
