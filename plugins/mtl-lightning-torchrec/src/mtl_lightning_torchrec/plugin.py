"""What the plugin supplies. It imports no component, so that listing names stays quick."""

from collections.abc import Mapping
from typing import Any

from mtl_lightning.errors import MtlError
from mtl_lightning.hookspecs import hookimpl

MTL_API = 1
NAME = "torchrec"


@hookimpl
def mtl_encoders() -> dict[str, str]:
    """The encoder, by name."""
    return {NAME: "mtl_lightning_torchrec.encoder:TorchRecEncoder"}


@hookimpl
def mtl_callbacks(config: Mapping[str, Any]) -> list[Any]:
    """No callback: only a check of what tables that are updated in backward can't do.

    Args:
        config: The run's configuration.

    Raises:
        MtlError: If the Trainer's settings would change what the tables learn.
    """
    trainer = config.get("trainer", {})
    if config.get("encoder", {}).get("name") != NAME:
        return []
    if int(trainer.get("accumulate_grad_batches", 1)) > 1:
        raise MtlError(
            "encoder torchrec updates tables at every batch, so gradients of several can't be accumulated",
            "raise data.batch_size instead of trainer.accumulate_grad_batches",
        )
    if trainer.get("gradient_clip_val"):
        raise MtlError(
            "encoder torchrec updates tables in the backward pass, before gradients could be clipped",
            "leave trainer.gradient_clip_val out",
        )
    if str(trainer.get("precision", "")).startswith("16"):
        raise MtlError(
            "encoder torchrec updates tables in the backward pass, where float16 gradients are still scaled",
            "set trainer.precision=bf16-mixed",
        )
    return []
