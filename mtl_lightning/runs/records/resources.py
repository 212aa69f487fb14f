"""``resources.json``: the cost of a training."""

from lightning.pytorch import LightningModule, Trainer

from mtl_lightning.analysis.resources import ResourcesCallback
from mtl_lightning.runs.directory import RunDirectory

FILE = "resources.json"


class ResourcesReport(ResourcesCallback):
    """Writes the cost of a training from the process that trained, because a spawned process does not return its state.

    Args:
        run: The run directory; None on processes that do not know it.
        warm_up: Number of first steps that are not counted.

    Example:
        ``Trainer(callbacks=[ResourcesReport(run)])``
    """

    def __init__(self, run: RunDirectory | None, warm_up: int = 3) -> None:
        super().__init__(warm_up)
        self.run = run

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the cost, unless a resumed run had nothing left to train and a record exists."""
        super().on_fit_end(trainer, pl_module)
        if trainer.is_global_zero and self.run is not None and (self.steps or self.run.load_json(FILE) is None):
            self.run.save_json(FILE, self.summary())
