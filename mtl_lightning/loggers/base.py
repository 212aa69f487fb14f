"""The contract of a run's loggers."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from lightning.pytorch.loggers import Logger

Status = Literal["success", "failed", "interrupted"]
"""Status at the end of a run. An interrupted run can be resumed."""


class RunLogger(Logger):
    """A logger of Lightning that receives the files of a run, too, and learns how the run ended.

    It is built on the first process only, as ``(directory, *, options)``.

    Args:
        directory: The run directory.

    Example:
        >>> import tempfile
        >>> from mtl_lightning.loggers.csv import CSVLog
        >>> isinstance(CSVLog(Path(tempfile.mkdtemp())), RunLogger)
        True
    """

    needs: ClassVar[str | None] = None
    """Package that the logger needs, with the extra of the same name; None for nothing beyond this package's own."""

    def log_files(self, files: Mapping[str, Path]) -> None:
        """Keep files along with the logged values; a logger that writes into the run directory has nothing to do.

        Args:
            files: Paths of the files by the name under which to keep them, ``"reports/evaluation.html"``.
        """

    def close(self, status: Status) -> None:
        """Write everything that is pending, after the last value of a run.

        Args:
            status: How the run ended.
        """
