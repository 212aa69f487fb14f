"""TensorBoard logs of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from mtl_lightning.bounds import PositiveInt
from mtl_lightning.loggers.base import RunLogger
from mtl_lightning.report.render.heatmap import Matrix, legend, pixels, png


class EventLog(TensorBoardLogger, RunLogger):
    """Lightning's ``TensorBoardLogger``, in ``tensorboard/`` of the run directory, which contains nothing else.

    Lightning's adds an empty ``hparams.yaml`` and a metric ``hp_metric`` of -1. Here the configuration is
    already in the run directory.

    Args:
        directory: The run directory. A resumed run adds a file of events.
        max_queue: Events that are kept in memory before they are written.
        flush_secs: Seconds between two writes.

    Example:
        >>> import tempfile
        >>> log = EventLog(Path(tempfile.mkdtemp()))
        >>> log.log_metrics({"train/loss/click": 0.5}, step=1)
        >>> log.save()
        >>> [path.name.split(".")[0] for path in Path(log.log_dir).iterdir()]
        ['events']
    """

    def __init__(self, directory: Path, *, max_queue: PositiveInt = 10, flush_secs: PositiveInt = 120) -> None:
        options: dict[str, Any] = {"default_hp_metric": False, "max_queue": max_queue, "flush_secs": flush_secs}
        super().__init__(directory, name="tensorboard", version="", **options)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: hyperparameters are in ``config.yaml``."""

    @rank_zero_only
    def log_matrix(
        self,
        name: str,
        rows: Sequence[str],
        columns: Sequence[str],
        values: Matrix,
        *,
        step: int,
        least: float = -1.0,
        most: float = 1.0,
    ) -> None:
        """Log a matrix as an image (red −1, white 0, blue 1), and as a table with names under ``<name>/legend``.

        Args:
            name: Tag.
            rows: Names of the rows.
            columns: Names of the columns.
            values: Values of the matrix.
            step: Global step.
            least: −1, or 0 for non-negative values.
            most: Value of the darkest colour.
        """
        image = pixels(values, least, most)
        height, width, _ = image.shape
        # add_image would need Pillow to encode a PNG.
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png(image))
        self.experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=picture)]), step)
        self.experiment.add_text(f"{name}/legend", legend(rows, columns, values), step)

    @rank_zero_only
    def log_table(self, name: str, rows: Sequence[str], columns: Sequence[str], values: Matrix, *, step: int) -> None:
        """Log a matrix as a table with four digits, for values too different in size for a colour scale.

        Args:
            name: Tag.
            rows: Names of the rows.
            columns: Names of the columns.
            values: Values of the matrix.
            step: Global step.
        """
        self.experiment.add_text(name, legend(rows, columns, values, ".4g"), step)

    def save(self) -> None:
        """Write pending events."""
        self.experiment.flush()
