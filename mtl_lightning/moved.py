"""Old names of modules that moved in 0.1.0. Importing one warns and gives the contents of its new place."""

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "mtl_lightning."
FOLDERS = {
    ("", "fitting"): "trainer warm_start",
    ("", "layers"): "batched",
    ("", "plugins"): "builtin entries",
    ("", "runs"): "checkpoint interrupts",
    ("", "training"): "module network parameter_step schedule sharded strategies tables",
    ("cli", "fitting"): "header memory",
    ("cli", "report.render"): "console",
    ("config", "validation"): "binding values",
    ("data", "data.arrow"): "hashing keys lists numbers threads times",
    ("data", "data.cache"): "fetch locks write_files",
    ("data", "data.expressions"): "functions",
    ("data", "data.features"): "buckets categorical cross hashed numeric sequence text vector vocabulary",
    ("data", "data.preparation"): "growth prepare prepared row_encoder split summary text_columns transforms",
    ("data", "data.quality"): "profile",
    ("data", "data.readers"): "blocks files frames partitions",
    ("data", "data.store"): "loader order writer",
    ("data", "data.targets"): "labels tasks",
    (
        "metrics",
        "metrics.binary",
    ): "auc calibration ece expected_auc histogram log_loss normalized_entropy oracle_auc pr_auc",
    ("metrics", "metrics.counting"): "f1 precision recall",
    ("metrics", "metrics.multiclass"): "accuracy macro_f1 multiclass_log_loss",
    ("metrics", "metrics.ranking"): "gauc ndcg recall_at_k",
    ("metrics", "metrics.regression"): "mae r2 rmse xauc",
    ("report", "report.evaluation"): "reliability",
    ("report", "report.render"): "console heatmap html svg tables",
    ("report", "report.training"): "events relations terminal",
    ("report", "runs.records"): "resources",
    ("weighters", "weighters.bases"): "bargaining gramian jacobian loss_based negative offset paired quadratic",
}
"""Modules that moved from one folder to another under their own names; the first folder may be the package."""
RENAMED = {
    "aligned": "layers.padding",
    "analysis.evaluated": "analysis.output_relations",
    "analysis.evaluation": "analysis.detailed_evaluation",
    "analysis.relations": "analysis.gradient_relations",
    "cli.processes": "fitting.children",
    "cli.training": "fitting.run",
    "cli.warm": "fitting.warm_start_report",
    "compare.gather": "compare.results",
    "compare.sampled": "compare.bootstrap",
    "config.suggest": "errors",
    "data.code": "data.cache.code_digest",
    "data.cold": "data.preparation.cold_start",
    "data.columns": "data.arrow.columns errors",
    "data.csv_files": "data.readers.csv",
    "data.dates": "data.features.date data.arrow.times",
    "data.dictionaries": "data.features.dictionary_codes",
    "data.json_files": "data.readers.json_lines",
    "data.kept": "data.cache.arrow_tables",
    "data.operations": "data.expressions.operations data.arrow.types",
    "data.oracles": "data.targets.raw_columns",
    "data.parquet_rows": "data.readers.parquet",
    "data.reading": "data.preparation.split_reader",
    "data.transform": "data.features.base",
    "declared": "plugins.checks",
    "initial": "layers.initialisation",
    "metrics.closer": "metrics.detailed_metrics",
    "metrics.counts": "metrics.counting.decisions",
    "metrics.exchange": "distributed",
    "metrics.few": "metrics.ranking.rare_positives",
    "metrics.packed": "metrics.ranking.group_areas",
    "metrics.rows": "metrics.row_weights",
    "metrics.threshold": "metrics.counting.thresholds",
    "optim": "training.optimizer",
    "registry": "plugins.names",
    "report.evaluation_page": "report.evaluation.page",
    "report.quality_page": "report.quality.page",
    "report.quality_plots": "report.quality.plots",
    "report.quality_tables": "report.quality.tables",
    "report.record": "runs.records.metrics",
    "report.rows": "runs.records.test_rows",
    "rundir": "runs.directory ranks files plugins.versions",
    "saving": "fitting.checkpointing",
    "step": "training.step distributed",
}
"""New modules by old module, for those whose names changed or that were divided."""
MOVED = RENAMED | {
    f"{old}.{name}".lstrip("."): f"{new}.{name}" for (old, new), names in FOLDERS.items() for name in names.split()
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
