"""Everything that the page of a run shows, read from the run directory."""

from dataclasses import dataclass, field
from typing import Any

from mtl_lightning.report.run import importance
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records import metrics, resources
from mtl_lightning.runs.records.curves import Curve, read_curves

DATA = "data.json"
"""File with facts on the data of a run."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as its directory shows it.

    Args:
        name: Name of the directory.
        recipe: Name of the recipe; empty if it is not recorded.
        config: Text of ``config.yaml``.
        versions: Versions of the plugins that the run used.
        data: Rows of each split, tasks and findings; empty for runs that did not record them.
        curves: Logged values by name.
        metrics: Content of ``metrics.json``.
        resources: Content of ``resources.json``; empty before training has ended.
        importance: Content of ``importance.json``; empty if the importance of features was not measured.
    """

    name: str
    recipe: str
    config: str
    versions: dict[str, str]
    data: dict[str, Any]
    curves: dict[str, Curve]
    metrics: dict[str, Any]
    resources: dict[str, Any]
    importance: dict[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> Curve:
        """The validation score by step, NaN where it is undefined."""
        return self.validated("validation/score")

    def validated(self, name: str) -> Curve:
        """Values of a metric over the validations.

        Args:
            name: Full name, such as ``validation/click/auc``.
        """
        values = [(entry["step"], entry["metrics"].get(name)) for entry in self.metrics["validations"]]
        return [(step, float("nan") if value is None else value) for step, value in values]


def read_record(run: RunDirectory) -> RunRecord:
    """Read the record of a run.

    Args:
        run: The run directory.

    Raises:
        MtlError: If a file is damaged.
    """
    return RunRecord(
        name=run.path.resolve().name,
        recipe=run.load_json("recipe.json") or "",
        config=run.config_file.read_text(encoding="utf-8"),
        versions=run.load_json("plugins.json") or {},
        data=run.load_json(DATA) or {},
        curves=read_curves(run),
        metrics=metrics.read(run),
        resources=run.load_json(resources.FILE) or {},
        importance=run.load_json(importance.FILE) or {},
    )
