"""Values of a run as CSV files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger

from mtl_lightning.bounds import PositiveInt
from mtl_lightning.loggers.base import RunLogger


class CSVLog(CSVLogger, RunLogger):
    """Lightning's ``CSVLogger``, in ``csv/`` of the run directory.

    Each start of a run writes a file of its own: ``csv/version_0/metrics.csv``, and ``version_1`` when it is resumed.

    Args:
        directory: The run directory.
        flush_logs_every_n_steps: Logged records between two writes.

    Example:
        >>> import tempfile
        >>> log = CSVLog(Path(tempfile.mkdtemp()))
        >>> log.log_metrics({"train/loss/click": 0.5}, step=1)
        >>> log.save()
        >>> (Path(log.log_dir) / "metrics.csv").read_text().split()
        ['step,train/loss/click', '1,0.5']
    """

    def __init__(self, directory: Path, *, flush_logs_every_n_steps: PositiveInt = 100) -> None:
        super().__init__(directory, name="csv", flush_logs_every_n_steps=flush_logs_every_n_steps)

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Do nothing: hyperparameters are in ``config.yaml``."""

    def close(self, status: str) -> None:
        """Write pending records."""
        self.save()
