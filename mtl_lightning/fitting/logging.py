"""Configuration, files and status of a run for its loggers, besides the logged values."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import Trainer

from mtl_lightning.config import Config
from mtl_lightning.loggers.base import RunLogger, Status
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import Interrupted

SUFFIXES = (".html", ".json", ".yaml")
"""Reports and records. Checkpoints, and rows of the test split, are not sent anywhere."""


@contextmanager
def logged(trainer: Trainer, config: Config, directory: RunDirectory | None) -> Iterator[None]:
    """Tell the loggers of a Trainer the configuration, and in the end the files and the status of the run.

    Args:
        trainer: The Trainer.
        config: The configuration of the run.
        directory: The run directory; None on processes that have no loggers.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]
    for logger in loggers:
        logger.log_hyperparams(config.plain)
    status: Status = "failed"
    try:
        yield
        status = "success"
    except (Interrupted, KeyboardInterrupt):
        status = "interrupted"
        raise
    finally:
        for logger in loggers:
            if directory is not None:
                logger.log_files(files_of(directory))
            logger.close(status)


def files_of(run: RunDirectory) -> dict[str, Path]:
    """Reports and records of a run, by their path in its directory.

    Args:
        run: The run directory.

    Example:
        >>> import tempfile
        >>> run = RunDirectory(Path(tempfile.mkdtemp()))
        >>> run.save_config("seed: 1")
        >>> list(files_of(run))
        ['config.yaml']
    """
    paths = sorted(path for path in run.path.iterdir() if path.is_file() and path.suffix in SUFFIXES)
    return {path.name: path for path in paths} | (
        {"transforms/transforms.json": run.transforms} if run.transforms.is_file() else {}
    )
