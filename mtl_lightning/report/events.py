"""TensorBoard logs of a run."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger


class EventLog(TensorBoardLogger):
    """TensorBoard events in one directory, and nothing else in it.

    Lightning's logger adds an empty ``hparams.yaml`` and a metric ``hp_metric`` of -1; the run directory holds the
    configuration already.

    Args:
        directory: Where the event files go. A resumed run adds a file.

    Example:
        >>> import tempfile
        >>> log = EventLog(Path(tempfile.mkdtemp()) / "tensorboard")
        >>> log.log_metrics({"train/loss/click": 0.5}, step=1)
        >>> log.save()
        >>> [path.name.split(".")[0] for path in Path(log.log_dir).iterdir()]
        ['events']
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory.parent, name=directory.name, version="", default_hp_metric=False)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` has them."""

    def save(self) -> None:
        """Write what is pending."""
        self.experiment.flush()
