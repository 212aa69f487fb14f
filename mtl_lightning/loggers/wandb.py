"""Runs in Weights & Biases."""

import uuid
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import WandbLogger

from mtl_lightning.bounds import NonNegativeFloat
from mtl_lightning.loggers.base import Status
from mtl_lightning.loggers.tracker import Tracker


class WandB(Tracker):
    """A run of Weights & Biases, through Lightning's ``WandbLogger``.

    The configuration becomes the run's config, and reports become an artefact. A resumed run continues the same run.
    Files of the client are in ``wandb/`` of the run directory.

    Args:
        directory: The run directory.
        project: Project; null for the name of the recipe.
        run_name: Name of the run; null for the name of the run directory.
        entity: User or team; null for the account's default.
        group: Group of the run.
        tags: Tags of the run.
        notes: Notes of the run.
        offline: Keep the run in files, for ``wandb sync``.
        prefix: Text before the name of each metric.
        wait: Seconds that the end of a run waits for the server, at most.

    Example:
        >>> logger = WandB(Path("runs/ads/monday"), offline=True)
        >>> logger.name, logger.version
        ('ads', 'monday')
    """

    service: ClassVar[str] = "wandb"
    needs: ClassVar[str] = "wandb"

    def __init__(
        self,
        directory: Path,
        *,
        project: str | None = None,
        run_name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        offline: bool = False,
        prefix: str = "",
        wait: NonNegativeFloat = 60.0,
    ) -> None:
        super().__init__(directory, wait=wait)
        self._options: dict[str, Any] = {
            "project": project or self.name,
            "name": run_name or self.version,
            "entity": entity,
            "group": group,
            "tags": tags,
            "notes": notes,
            "offline": offline,
            "prefix": prefix,
        }

    def settings(self) -> dict[str, Any]:
        """The options."""
        return {"_options": self._options}

    def connect(self) -> WandbLogger:
        """Start a run, or continue the one that an earlier start of this run has begun."""
        import wandb

        identity = self.known().get("id") or uuid.uuid4().hex[:8]
        quiet = wandb.Settings(console="off", silent=True)
        logger = WandbLogger(save_dir=self.directory, id=identity, settings=quiet, **self._options)
        _ = logger.experiment  # the first access starts the run
        self.remember({"id": identity})
        return logger

    def send_metrics(self, client: WandbLogger, metrics: dict[str, float], step: int) -> None:
        """Send values of a step."""
        client.log_metrics(metrics, step)

    def send_params(self, client: WandbLogger, params: dict[str, Any]) -> None:
        """Send the configuration; settings that a resumed run changes replace the earlier ones."""
        client.experiment.config.update(params, allow_val_change=True)

    def send_files(self, client: WandbLogger, files: dict[str, Path]) -> None:
        """Send files as a new version of the run's artefact."""
        import wandb

        artefact = wandb.Artifact(f"run-{client.experiment.id}", type="run")
        for name, path in files.items():
            artefact.add_file(str(path), name)
        client.experiment.log_artifact(artefact)

    def send_status(self, client: WandbLogger, status: Status) -> None:
        """End the run: a failed or interrupted one is shown as such."""
        client.experiment.finish(exit_code=0 if status == "success" else 1)
