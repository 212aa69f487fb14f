"""Runs in MLflow."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import MLFlowLogger

from mtl_lightning.bounds import NonNegativeFloat
from mtl_lightning.errors import MtlError
from mtl_lightning.export.extras import need
from mtl_lightning.loggers.base import Status
from mtl_lightning.loggers.tracker import Tracker, line_of

STATES = {"success": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
LONGEST = 500
"""Characters of a parameter that every version of MLflow takes."""
AT_ONCE = 100
"""Parameters in one request."""


class MLflow(Tracker):
    """A run of an MLflow server, through Lightning's ``MLFlowLogger``.

    The configuration becomes parameters (``trainer.max_epochs``), and reports become artefacts. A resumed run continues
    the same MLflow run; settings that were changed then are tags, for parameters can't change.

    Args:
        directory: The run directory.
        experiment_name: Experiment; null for the name of the recipe.
        run_name: Name of the run; null for the name of the run directory.
        tracking_uri: Address of the server, ``http://…`` or ``sqlite:///…``; null for ``MLFLOW_TRACKING_URI``.
        tags: Tags of the run.
        prefix: Text before the name of each metric.
        artifact_location: Where a new experiment keeps its artefacts; null for the server's choice.
        wait: Seconds that the end of a run waits for the server, at most.

    Example:
        >>> logger = MLflow(Path("runs/ads/monday"), tracking_uri="http://127.0.0.1:5000")
        >>> logger.name, logger.version
        ('ads', 'monday')
    """

    service: ClassVar[str] = "mlflow"
    needs: ClassVar[str] = "mlflow"

    def __init__(
        self,
        directory: Path,
        *,
        experiment_name: str | None = None,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: dict[str, str] | None = None,
        prefix: str = "",
        artifact_location: str | None = None,
        wait: NonNegativeFloat = 60.0,
    ) -> None:
        super().__init__(directory, wait=wait)
        self._options: dict[str, Any] = {
            "experiment_name": experiment_name or self.name,
            "run_name": run_name or self.version,
            "tags": tags,
            "prefix": prefix,
            "artifact_location": artifact_location,
        } | ({"tracking_uri": tracking_uri} if tracking_uri is not None else {})

    def settings(self) -> dict[str, Any]:
        """The options."""
        return {"_options": self._options}

    def connect(self) -> MLFlowLogger:
        """Start a run, or continue the one that an earlier start of this run has begun."""
        _limit_client()  # the thread tries again, and says so earlier
        known = self.known()
        logger = MLFlowLogger(**self._options, run_id=known.get("run_id"))
        client, run_id = logger.experiment, logger.run_id  # the first access to the experiment starts the run
        assert run_id is not None
        if known:
            client.update_run(run_id, status="RUNNING")
        self.remember({"run_id": run_id})
        return logger

    def send_metrics(self, client: MLFlowLogger, metrics: dict[str, float], step: int) -> None:
        """Send values of a step."""
        client.log_metrics(metrics, step)

    def send_params(self, client: MLFlowLogger, params: dict[str, Any]) -> None:
        """Send parameters that the run lacks, and as tags those that differ from what it has."""
        from mlflow.entities import Param

        service, run_id = client.experiment, client.run_id
        assert run_id is not None
        before = service.get_run(run_id).data.params
        given = {name: str(value)[:LONGEST] for name, value in _flat(params)}
        missing = [Param(name, value) for name, value in given.items() if name not in before]
        for first in range(0, len(missing), AT_ONCE):
            service.log_batch(run_id, params=missing[first : first + AT_ONCE])
        for name, value in given.items():
            if before.get(name, value) != value:
                service.set_tag(run_id, f"changed/{name}", value)

    def send_files(self, client: MLFlowLogger, files: dict[str, Path]) -> None:
        """Send files as artefacts."""
        for name, path in files.items():
            folder = str(Path(name).parent)
            client.experiment.log_artifact(client.run_id, str(path), None if folder == "." else folder)

    def send_status(self, client: MLFlowLogger, status: Status) -> None:
        """End the run."""
        client.experiment.set_terminated(client.run_id, STATES[status])

    def registration(self, name: str) -> Callable[[Path], int]:
        """Check the server, and return a function that registers an export as a pyfunc model of this run.

        The model is linked to the MLflow run of the run directory if there is one. MLflow reads the folder with
        :mod:`mtl_lightning.predictions.mlflow_model`; neither pickles nor code are stored.
        """
        need("mlflow", "mlflow")
        import mlflow
        from mlflow.exceptions import MlflowException

        uri = self._options.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            raise MtlError("register: no MLflow server is given", "set MLFLOW_TRACKING_URI=http://…, or sqlite:///…")
        _limit_client()
        with _as_user_errors("register: MLflow can't be used", "check MLFLOW_TRACKING_URI, and that the server runs"):
            mlflow.set_tracking_uri(uri)
            client = mlflow.MlflowClient()
            if run_id := self.known().get("run_id"):
                client.get_run(run_id)
            try:
                client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise

        def register(folder: Path) -> int:
            from mtl_lightning.predictions.mlflow_model import log_model

            run_id = self.known().get("run_id")
            with _as_user_errors("register: the export can't be registered", f"it is complete in {folder}"):
                if run_id is None:
                    mlflow.set_experiment(self._options["experiment_name"])
                else:
                    mlflow.set_experiment(experiment_id=client.get_run(run_id).info.experiment_id)
                return log_model(folder, name, run_id)

        return register


def _limit_client() -> None:
    """Let requests fail early and print nothing on the standard output, unless the environment says otherwise."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


@contextmanager
def _as_user_errors(message: str, hint: str) -> Iterator[None]:
    """Raise errors of the client, the network and the server as errors that the user can act on."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise MtlError(f"{message}: {line_of(error)}", hint) from error


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as ``section.key`` with values."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
