"""``resources.json``: what a training cost."""

from lightning.pytorch import LightningModule, Trainer

from mtl_lightning.analysis.resources import ResourcesCallback
from mtl_lightning.runs.directory import RunDirectory

FILE = "resources.json"


class ResourcesReport(ResourcesCallback):
    """Writes what a training cost from the process that trained: a spawned one takes its numbers with it.

    Args:
        run: The run directory; set before training starts.
        warm_up: Steps at the start that are not counted.

    Example:
        ``Trainer(callbacks=[ResourcesReport(run)])``
    """

    def __init__(self, run: RunDirectory | None = None, warm_up: int = 3) -> None:
        super().__init__(warm_up)
        self.run = run

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write; a resumed run may have had nothing left to train, and what it cost before is told already."""
        super().on_fit_end(trainer, pl_module)
        if trainer.is_global_zero and self.run is not None and (self.steps or self.run.load_json(FILE) is None):
            self.run.save_json(FILE, self.summary())
