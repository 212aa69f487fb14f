"""Detailed evaluation of the tested weights: gaps between splits, decisions at the best threshold, slices."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mtl_lightning.analysis.abundance import table_abundances
from mtl_lightning.analysis.preferences import ROWS, measure_preferences
from mtl_lightning.analysis.slices import Slice, make_slices
from mtl_lightning.config.record import Config
from mtl_lightning.config.slices import slice_columns
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.data.store.store import Store
from mtl_lightning.distributed import reduce_sum
from mtl_lightning.interfaces import TaskMetric
from mtl_lightning.metrics.binary.ece import ECE
from mtl_lightning.metrics.counting.thresholds import Thresholds, best_edge, decisions, threshold
from mtl_lightning.metrics.detailed_metrics import detailed_metrics
from mtl_lightning.metrics.slices import SlicedSuite
from mtl_lightning.metrics.suite import MetricSuite
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Schema, Task


class DetailedEvaluation(Callback):
    """Evaluates training rows, validation and test with the same weights after a test, on all processes.

    Args:
        config: The run's configuration.
        prepared: The run's prepared data.
        time: Column of the source that orders rows in time, or None.

    Raises:
        MtlError: If a slice has too many parts.

    Example:
        ``Trainer(callbacks=[evaluation := DetailedEvaluation(config, data.prepared)])``; after ``test``,
        ``evaluation.summary``.
    """

    def __init__(self, config: Config, prepared: Prepared, time: str | None = None) -> None:
        columns = slice_columns(config.run.slices, config.features, config.split, config.data.group, time)
        make_slices(columns, prepared)  # raises before training
        self.columns = columns
        self.rows = config.run.train_rows
        self.batch_size = config.data.eval_batch_size
        self.seed = config.seed
        self.summary: dict[str, Any] | None = None

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate; a collective."""
        module: Any = pl_module
        schema: Schema = module.schema
        prepared: Prepared = trainer.datamodule.prepared  # type: ignore[attr-defined]
        slices = make_slices(self.columns, prepared)
        evaluations, preferences = {}, {}
        for split in ("train", "validation", "test"):
            store = prepared.stores.get(split)
            if store is not None and len(store):
                sample = training_sample(store, self.rows, self.seed) if split == "train" else store
                loader = Loader(sample, self.batch_size, rank=trainer.global_rank, world=trainer.world_size)
                evaluations[split] = evaluate_split(module, loader, {} if split == "train" else slices)
                if split != "train" and module.weighter.chooses_preferences:
                    sample = training_sample(store, ROWS, self.seed)
                    loader = Loader(sample, self.batch_size, rank=trainer.global_rank, world=trainer.world_size)
                    points = measure_preferences(module, loader)
                    preferences[split] = {"rows": len(sample), "of": len(store), "points": points}
        edges = {
            task: best_edge(counts) for task, counts in evaluations.get("validation", {}).get("thresholds", {}).items()
        }
        self.summary = {
            "spaces": {task.name: space(task) for task in schema.tasks},
            "tables": table_abundances(module.network.encoder, schema),
            "splits": {
                split: {
                    "rows": result["rows"],
                    "of": len(prepared.stores[split]),
                    "metrics": result["metrics"],
                    "reliability": result["reliability"],
                }
                for split, result in evaluations.items()
            },
            "thresholds": {
                task: {
                    "threshold": threshold(edge),
                    **{
                        split: decisions(evaluations[split]["thresholds"][task], edge)
                        for split in evaluations
                        if split != "train"
                    },
                }
                for task, edge in edges.items()
                if edge is not None
            },
            "slices": {split: result["slices"] for split, result in evaluations.items() if split != "train"},
            "preferences": preferences,
        }


def training_sample(store: Store, rows: int, seed: int) -> Store:
    """Random sample of at most ``rows`` rows of a Store, the same on every process."""
    if len(store) <= rows:
        return store
    random = torch.Generator().manual_seed(seed)
    return store.take(torch.randperm(len(store), generator=random)[:rows].sort().values)


def evaluate_split(module: Any, loader: Loader, slices: Mapping[str, Slice]) -> dict[str, Any]:
    """Metrics, counts for thresholds and slices of one split; a collective.

    Args:
        module: A :class:`~mtl_lightning.training.module.MultiTaskModule`.
        loader: This process's rows of the split.
        slices: Ways to divide the split.
    """
    network, schema = module.network, module.schema
    metrics = module.suites["test"].by_task()
    grouped = "group" in loader.store.parts
    suite = MetricSuite(schema, {task.name: add_detailed(task, metrics[task.name], grouped) for task in schema.tasks})
    suite.to(module.device)
    parts = {name: SlicedSuite(schema, metrics, cut.values).to(module.device) for name, cut in slices.items()}
    probable = [task for task in schema.tasks if task.traits.event_probability]
    thresholds = {task.name: Thresholds().to(module.device) for task in probable if task.traits.hard}
    calibration = {task.name: ECE(task).to(module.device) for task in probable}
    rows = torch.zeros((), dtype=torch.int64, device=module.device)
    training = module.training
    module.eval()
    with torch.no_grad():
        for batch_on_host in loader:
            batch = batch_on_host.to(module.device)
            outputs, _ = network.outputs(batch)
            predictions, targets = network.measured(outputs, batch)
            suite.update(predictions, targets)
            rows += len(batch)
            for name, cut in slices.items():
                parts[name].update(predictions, targets, cut.part(batch))
            for task, counts in thresholds.items():
                counts.update(predictions[task], targets[task])
            for task, metric in calibration.items():
                metric.update(predictions[task], targets[task])
    module.train(training)
    return {
        "rows": int(reduce_sum(rows)),
        "metrics": suite.compute(),
        "slices": {name: parts[name].compute() for name in slices},
        "thresholds": {task: counts.counts().cpu() for task, counts in thresholds.items()},
        "reliability": {task: metric.points() for task, metric in calibration.items()},
    }


def add_detailed(task: Task, own: Mapping[str, TaskMetric], grouped: bool) -> dict[str, TaskMetric]:
    """A task's own metrics first, then the detailed metrics of its kind that it lacks.

    Args:
        task: The task.
        own: Metrics of the task by name.
        grouped: Whether rows have a group.
    """
    own_types = {type(metric) for metric in own.values()}  # under any name
    more = {name: registry().resolve("metric", name) for name in detailed_metrics(task, grouped=grouped)}
    return {**own, **{name: kind(task) for name, kind in more.items() if name not in own and kind not in own_types}}


def space(task: Task) -> str:
    """Rows on which a task's metrics are computed, in words.

    Example:
        >>> space(Task(name="buy", kind="binary", label="buy", observed_when="click == 1"))
        'own: click == 1'
        >>> space(Task(name="buy", kind="binary", label="buy"))
        'entire'
    """
    return "entire" if task.observed_when is None else f"own: {task.observed_when}"
