"""Old names of modules that moved in 0.1.0. Importing one warns and gives the contents of its new place."""

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "mtl_lightning."
MOVED = {
    "aligned": "layers.padding",
    "analysis.evaluated": "analysis.output_relations",
    "analysis.evaluation": "analysis.detailed_evaluation",
    "analysis.relations": "analysis.gradient_relations",
    "batched": "layers.batched",
    "builtin": "plugins.builtin",
    "checkpoint": "runs.checkpoint",
    "cli.console": "report.render.console",
    "cli.header": "fitting.header",
    "cli.memory": "fitting.memory",
    "cli.processes": "fitting.children",
    "cli.training": "fitting.run",
    "cli.warm": "fitting.warm_start_report",
    "compare.gather": "compare.results",
    "compare.sampled": "compare.bootstrap",
    "config.binding": "validation.binding",
    "config.suggest": "errors",
    "config.values": "validation.values",
    "data.blocks": "data.readers.blocks",
    "data.buckets": "data.features.buckets",
    "data.categorical": "data.features.categorical",
    "data.code": "data.cache.code_digest",
    "data.cold": "data.preparation.cold_start",
    "data.columns": "data.arrow.columns errors",
    "data.cross": "data.features.cross",
    "data.csv_files": "data.readers.csv",
    "data.dates": "data.features.date data.arrow.times",
    "data.dictionaries": "data.features.dictionary_codes",
    "data.fetch": "data.cache.fetch",
    "data.files": "data.readers.files",
    "data.frames": "data.readers.frames",
    "data.functions": "data.expressions.functions",
    "data.growth": "data.preparation.growth",
    "data.hashed": "data.features.hashed",
    "data.hashing": "data.arrow.hashing",
    "data.json_files": "data.readers.json_lines",
    "data.kept": "data.cache.arrow_tables",
    "data.keys": "data.arrow.keys",
    "data.labels": "data.targets.labels",
    "data.lists": "data.arrow.lists",
    "data.loader": "data.store.loader",
    "data.locks": "data.cache.locks",
    "data.numbers": "data.arrow.numbers",
    "data.numeric": "data.features.numeric",
    "data.operations": "data.expressions.operations data.arrow.types",
    "data.oracles": "data.targets.raw_columns",
    "data.order": "data.store.order",
    "data.parquet_rows": "data.readers.parquet",
    "data.partitions": "data.readers.partitions",
    "data.prepare": "data.preparation.prepare",
    "data.prepared": "data.preparation.prepared",
    "data.profile": "data.quality.profile",
    "data.reading": "data.preparation.split_reader",
    "data.row_encoder": "data.preparation.row_encoder",
    "data.sequence": "data.features.sequence",
    "data.split": "data.preparation.split",
    "data.summary": "data.preparation.summary",
    "data.tasks": "data.targets.tasks",
    "data.text": "data.features.text",
    "data.text_columns": "data.preparation.text_columns",
    "data.threads": "data.arrow.threads",
    "data.times": "data.arrow.times",
    "data.transform": "data.features.base",
    "data.transforms": "data.preparation.transforms",
    "data.vector": "data.features.vector",
    "data.vocabulary": "data.features.vocabulary",
    "data.write_files": "data.cache.write_files",
    "data.writer": "data.store.writer",
    "declared": "plugins.checks",
    "entries": "plugins.entries",
    "initial": "layers.initialisation",
    "interrupts": "runs.interrupts",
    "metrics.accuracy": "metrics.multiclass.accuracy",
    "metrics.auc": "metrics.binary.auc",
    "metrics.calibration": "metrics.binary.calibration",
    "metrics.closer": "metrics.detailed_metrics",
    "metrics.counts": "metrics.counting.decisions",
    "metrics.ece": "metrics.binary.ece",
    "metrics.exchange": "distributed",
    "metrics.expected_auc": "metrics.binary.expected_auc",
    "metrics.f1": "metrics.counting.f1",
    "metrics.few": "metrics.ranking.rare_positives",
    "metrics.gauc": "metrics.ranking.gauc",
    "metrics.histogram": "metrics.binary.histogram",
    "metrics.log_loss": "metrics.binary.log_loss",
    "metrics.macro_f1": "metrics.multiclass.macro_f1",
    "metrics.mae": "metrics.regression.mae",
    "metrics.multiclass_log_loss": "metrics.multiclass.multiclass_log_loss",
    "metrics.ndcg": "metrics.ranking.ndcg",
    "metrics.normalized_entropy": "metrics.binary.normalized_entropy",
    "metrics.oracle_auc": "metrics.binary.oracle_auc",
    "metrics.packed": "metrics.ranking.group_areas",
    "metrics.pr_auc": "metrics.binary.pr_auc",
    "metrics.precision": "metrics.counting.precision",
    "metrics.r2": "metrics.regression.r2",
    "metrics.recall": "metrics.counting.recall",
    "metrics.recall_at_k": "metrics.ranking.recall_at_k",
    "metrics.rmse": "metrics.regression.rmse",
    "metrics.rows": "metrics.row_weights",
    "metrics.threshold": "metrics.counting.thresholds",
    "metrics.xauc": "metrics.regression.xauc",
    "module": "training.module",
    "network": "training.network",
    "optim": "training.optimizer",
    "parameter_step": "training.parameter_step",
    "registry": "plugins.names",
    "report.console": "report.render.console",
    "report.evaluation_page": "report.evaluation.page",
    "report.events": "report.training.events",
    "report.heatmap": "report.render.heatmap",
    "report.html": "report.render.html",
    "report.quality_page": "report.quality.page",
    "report.quality_plots": "report.quality.plots",
    "report.quality_tables": "report.quality.tables",
    "report.record": "runs.records.metrics",
    "report.relations": "report.training.relations",
    "report.reliability": "report.evaluation.reliability",
    "report.resources": "runs.records.resources",
    "report.rows": "runs.records.test_rows",
    "report.svg": "report.render.svg",
    "report.tables": "report.render.tables",
    "report.terminal": "report.training.terminal",
    "rundir": "runs.directory ranks files plugins.versions",
    "saving": "fitting.checkpointing",
    "schedule": "training.schedule",
    "sharded": "training.sharded",
    "step": "training.step distributed",
    "strategies": "training.strategies",
    "tables": "training.tables",
    "trainer": "fitting.trainer",
    "warm_start": "fitting.warm_start",
    "weighters.bargaining": "weighters.bases.bargaining",
    "weighters.gramian": "weighters.bases.gramian",
    "weighters.jacobian": "weighters.bases.jacobian",
    "weighters.loss_based": "weighters.bases.loss_based",
    "weighters.negative": "weighters.bases.negative",
    "weighters.offset": "weighters.bases.offset",
    "weighters.paired": "weighters.bases.paired",
    "weighters.quadratic": "weighters.bases.quadratic",
}
"""New modules by old module, without the name of the package."""


def find_moved(name: str) -> ModuleSpec | None:
    """Specification of the module with this old name; None if no module has moved from there."""
    if name.removeprefix(PACKAGE) not in MOVED:
        return None
    return ModuleSpec(name, MovedModules())  # type: ignore[arg-type] # without load_module, which is deprecated


class MovedModules:
    """Loader of modules under their old names."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let the import system create an empty module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with the names of its new places, and warn."""
        places = MOVED[module.__name__.removeprefix(PACKAGE)].split()
        named = " and ".join(PACKAGE + place for place in places)
        warnings.warn(f"{module.__name__} moved to {named}", DeprecationWarning, stacklevel=2)
        for place in reversed(places):
            contents = vars(import_module(PACKAGE + place))
            public = {name: value for name, value in contents.items() if not name.startswith("__")}
            vars(module).update(public | {name: contents[name] for name in ("__getattr__",) if name in contents})


def moved_names(package: str, places: dict[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package that was a module: its old names warn and come from new modules.

    Args:
        package: Name of the package.
        places: New module of each old name, below the package.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        place = f"{package}.{places[name]}"
        warnings.warn(f"{package}.{name} moved to {place}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(place), name)

    return get


def renamed(module: str, names: dict[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module whose names changed: old names warn and give the new objects.

    Args:
        module: Name of the module.
        names: New name by old name.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is called {names[name]} now", DeprecationWarning, stacklevel=2)
        return getattr(import_module(module), names[name])

    return get
