"""Check of settings that tables updated in the backward pass do not support."""

from lightning.pytorch import Callback, LightningModule, Trainer

from mtl_lightning.errors import MtlError


class Limits(Callback):
    """Callback that refuses settings which the tables would not respect.

    Args:
        init_from: ``run.init_from`` of the recipe.
    """

    def __init__(self, init_from: str | None = None) -> None:
        self.init_from = init_from

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the settings before training.

        Raises:
            MtlError: If a setting is not supported; names the setting and an alternative.
        """
        if stage != "fit":
            return
        if trainer.accumulate_grad_batches > 1:
            raise MtlError(
                "encoder torchrec updates tables at every batch, so gradients of several can't be accumulated",
                "raise data.batch_size instead of trainer.accumulate_grad_batches",
            )
        if trainer.gradient_clip_val:
            raise MtlError(
                "encoder torchrec updates tables in the backward pass, before gradients could be clipped",
                "leave trainer.gradient_clip_val out",
            )
        if trainer.precision.startswith("16"):
            raise MtlError(
                "encoder torchrec updates tables in the backward pass, where float16 gradients are still scaled",
                "set trainer.precision=bf16-mixed",
            )
        if self.init_from:
            raise MtlError(
                "encoder torchrec can't start from another run: its tables have the rows of that run's vocabularies",
                "leave run.init_from out, or continue with resume=",
            )
