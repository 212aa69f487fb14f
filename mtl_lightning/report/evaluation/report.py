"""Report of the detailed evaluation: in ``metrics.json``, as a page and as tables on the terminal."""

import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mtl_lightning.analysis.detailed_evaluation import DetailedEvaluation
from mtl_lightning.config import Config
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.files import write_atomic
from mtl_lightning.printable import Console
from mtl_lightning.report.evaluation.page import (
    ABUNDANCE,
    DECISIONS,
    PAGE,
    abundance_rows,
    change,
    decision_rows,
    evaluation_page,
    first_metrics,
)
from mtl_lightning.report.evaluation.preferences import TITLE, preference_rows, sampled_rows
from mtl_lightning.report.render.tables import number, plain_table
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.metrics import FILE, read


class EvaluationReport(DetailedEvaluation):
    """Records and prints the evaluation on the first process.

    Args:
        config: The run's configuration.
        data: The run's data.
        run: The run directory; None on other processes.
        quiet: Print nothing.

    Example:
        ``Trainer(callbacks=[EvaluationReport(config, data, run)])``
    """

    def __init__(self, config: Config, data: DataModule, run: RunDirectory | None, *, quiet: bool = False) -> None:
        super().__init__(config, data.prepared, data.source.schema().time)
        self.run = run
        self.quiet = quiet

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate on all processes, and report on the first one."""
        super().on_test_end(trainer, pl_module)
        if trainer.is_global_zero and self.run is not None and self.summary is not None:
            self.run.save_json(FILE, {**read(self.run), "evaluation": plain(self.summary)})
            write_atomic(self.run.path / PAGE, evaluation_page(plain(self.summary), self.run.path.name))
            Console(highlight=False, emoji=False, quiet=self.quiet).print(evaluation_tables(self.summary))


def wanted(config: Config) -> bool:
    """True if the recipe requests the detailed evaluation."""
    return config.run.evaluation or bool(config.run.slices)


def plain(value: Any) -> Any:
    """Summary for JSON, with None for NaN.

    Example:
        >>> plain({"auc": float("nan"), "rows": {"click": 2}})
        {'auc': None, 'rows': {'click': 2}}
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def evaluation_tables(summary: Mapping[str, Any]) -> Group:
    """Gaps between splits, decisions at the chosen threshold, and each task's first metric per slice.

    Args:
        summary: :attr:`mtl_lightning.analysis.detailed_evaluation.DetailedEvaluation.summary`.

    Example:
        >>> values = {"train": 0.7, "test": 0.6}
        >>> splits = {name: {"rows": 9, "of": 9, "metrics": {"click/auc": value}} for name, value in values.items()}
        >>> summary = {"spaces": {"click": "entire"}, "splits": splits, "thresholds": {}, "slices": {}}
        >>> Console(width=60).print(evaluation_tables(summary))
        Splits side by side (train: 9 of 9 rows)
                                         test −
        task   space   metric   train    test    train
        ──────────────────────────────────────────────
        click  entire  auc     0.7000  0.6000  -0.1000
    """
    splits = summary["splits"]
    sample = f" (train: {splits['train']['rows']:,} of {splits['train']['of']:,} rows)" if "train" in splits else ""
    ends = f"{list(splits)[-1]} −\n{next(iter(splits))}"
    table = plain_table(["task", "space", "metric"], [*splits, ends])
    for name in next(iter(splits.values()))["metrics"]:
        task, _, metric = name.partition("/")
        if metric:
            values = [facts["metrics"][name] for facts in splits.values()]
            known = [None if math.isnan(value) else value for value in values]
            table.add_row(task, summary["spaces"][task], metric, *map(number, values), change(known))
    parts: list[RenderableType] = [Text(f"Splits side by side{sample}", style="bold"), table]
    if summary["thresholds"]:
        parts += [Text("Decisions at the threshold of the best F1 on validation", style="bold"), _decisions(summary)]
    for split, slices in summary["slices"].items():
        for name, by_part in slices.items():
            parts += [Text(f"{split} by {name}", style="bold"), _slice(by_part)]
    if preferences := summary.get("preferences"):
        metrics = first_metrics(next(iter(preferences.values()))["points"][0]["metrics"])
        headings, rows = preference_rows(plain(preferences), metrics)
        along = plain_table(headings[:1], [heading.replace(" ", "\n") for heading in headings[1:]])
        for cells in rows:
            along.add_row(*cells)
        parts += [Text(f"{TITLE} ({sampled_rows(preferences)})", style="bold"), along]
    if summary.get("tables"):
        parts += [Text("Directions that embedding tables use", style="bold"), _abundances(summary["tables"])]
    return Group(*parts)


def _abundances(tables: list[dict[str, Any]]) -> Table:
    table = plain_table(ABUNDANCE[:1], ABUNDANCE[1:])
    for cells in abundance_rows(plain(tables)):
        table.add_row(*cells)
    return table


def _decisions(summary: Mapping[str, Any]) -> Table:
    table = plain_table(["task", "split"], ["threshold", *DECISIONS])
    for row in decision_rows(summary["thresholds"]):
        table.add_row(*row)
    return table


def _slice(by_part: Mapping[str, Any]) -> Table:
    """Table of known labels and first metric per task and part; parts without labels are left out."""
    table = plain_table(["part", "task", "metric"], ["labels", "value"])
    for value, part in by_part.items():
        for task, metric in first_metrics(part["metrics"]).items():
            if part["rows"][task]:
                table.add_row(
                    value, task, metric, f"{part['rows'][task]:,}", number(part["metrics"][f"{task}/{metric}"])
                )
    return table
