"""Old names of modules that moved in 0.1.0: importing one warns and gives the contents of its new place."""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "mtl_lightning."
MOVED = {
    "aligned": "layers.padding",
    "batched": "layers.batched",
    "builtin": "plugins.builtin",
    "checkpoint": "runs.checkpoint",
    "cli.console": "report.console",
    "cli.header": "fit.header",
    "cli.memory": "fit.memory",
    "cli.processes": "fit.children",
    "cli.training": "fit.run",
    "cli.warm": "fit.warm_start_report",
    "config.suggest": "errors",
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
    "metrics.exchange": "distributed",
    "module": "training.module",
    "network": "training.network",
    "optim": "training.optimizer",
    "parameter_step": "training.parameter_step",
    "registry": "plugins.names",
    "rundir": "runs.directory ranks files plugins.versions",
    "saving": "fit.checkpointing",
    "schedule": "training.schedule",
    "sharded": "training.sharded",
    "step": "training.step distributed",
    "strategies": "training.strategies",
    "tables": "training.tables",
    "trainer": "fit.trainer",
    "warm_start": "fit.warm_start",
    "weighters.bargaining": "weighters.bases.bargaining",
    "weighters.gramian": "weighters.bases.gramian",
    "weighters.jacobian": "weighters.bases.jacobian",
    "weighters.loss_based": "weighters.bases.loss_based",
    "weighters.negative": "weighters.bases.negative",
    "weighters.offset": "weighters.bases.offset",
    "weighters.paired": "weighters.bases.paired",
    "weighters.quadratic": "weighters.bases.quadratic",
}
"""Old module → new modules, without the package's name."""


class MovedModules:
    """Finder and loader of modules under their old names, asked after all others."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Specification of a moved module; None for all others."""
        if fullname.removeprefix(PACKAGE) not in MOVED or not fullname.startswith(PACKAGE):
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type] # without load_module, which is deprecated

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave the making of an empty module to the import system."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with the names of its new places, and warn."""
        places = MOVED[module.__name__.removeprefix(PACKAGE)].split()
        named = " and ".join(PACKAGE + place for place in places)
        import warnings  # on use: every import of the package comes by here

        warnings.warn(f"{module.__name__} moved to {named}", DeprecationWarning, stacklevel=2)
        for place in reversed(places):
            contents = vars(import_module(PACKAGE + place))
            vars(module).update({name: value for name, value in contents.items() if not name.startswith("__")})


def moved_names(package: str, places: dict[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package that was a module: names that it had warn, and come from their new modules.

    Args:
        package: Name of the package.
        places: New module of each old name, below the package.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import warnings  # on use

        place = f"{package}.{places[name]}"
        warnings.warn(f"{package}.{name} moved to {place}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(place), name)

    return get


def install() -> None:
    """Let old names be imported; a second call changes nothing."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
