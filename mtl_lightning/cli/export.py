"""The command ``export``: write a run as a folder that other programs can read."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from mtl_lightning.cli.run_arguments import open_run
from mtl_lightning.config import Arguments, Component, Config, read_arguments
from mtl_lightning.errors import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.render.console import first_console, say
from mtl_lightning.report.render.tables import number, plain_table
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.tune.score_file import tuned_formula

OPTIONAL = (
    *("score", "calibrate", "calibrate_by", "histories", "tables", "dense", "max_auc_loss"),
    *("compiled", "layout", "storage", "artefacts", "register"),
)
"""Arguments that may be left out."""
TABLES = ("float32", "float16", "int8")
"""Types of embedding tables, the default one first."""
CALIBRATE = ("true", "false", "platt", "isotonic", "spline")
"""Methods of calibration; ``true`` is the first of them."""
LAYOUTS = ("plain", "triton", "kserve")
"""Layouts of the folder, the default one first."""
DENSE = ("float32", "int8")
"""Types of dense layers, the default one first."""


def export(pairs: Sequence[str]) -> dict[str, Any] | None:
    """Write a run's best weights as ONNX, ``torch.export`` and safetensors, with transforms and a manifest.

    Args:
        pairs: ``run=<run directory> out=<new folder>``, ``score=<formula>``, ``calibrate=<method>``,
            ``calibrate_by=<feature>``, ``histories=true``, ``tables=<type>``, ``dense=<type>``, ``max_auc_loss=``,
            ``compiled=true``, ``layout=<server>``, ``storage=<address>``, ``artefacts=true`` and
            ``register=mlflow:/<name>``. Several runs, separated by commas, are averaged.

    Returns:
        ``out``, ``files`` with their bytes, ``bytes``, ``score``, the measured ``graphs``, and ``registered`` with
        ``name`` and ``version``; None on processes other than the first.

    Raises:
        MtlError: If a run can't be opened, the folder exists already, something in it can't be written, runs differ,
            the compressed graph is worse than ``max_auc_loss`` allows, or the registry can't be reached.
    """
    console = first_console()
    arguments = read_arguments("export", pairs, ["run", "out"], OPTIONAL, settings="dotted")
    chosen, histories = arguments.choose("calibrate", CALIBRATE), arguments.switch("histories", "false")
    calibrate = {"true": CALIBRATE[2], "false": None}.get(chosen, chosen)
    if calibrate is None and "calibrate_by" in arguments.own:
        raise MtlError("export: calibrate=false and calibrate_by= exclude each other", "leave one of them out")
    types = {"tables": arguments.choose("tables", TABLES), "dense": arguments.choose("dense", DENSE)}
    loss = arguments.number("max_auc_loss", 0.001, 0)
    compiled = arguments.switch("compiled", "false")
    rows = calibrate is not None or compiled or set(types.values()) != {"float32"}
    layout = arguments.choose("layout", LAYOUTS)
    if (layout == "kserve") != ("storage" in arguments.own):
        raise MtlError("export: layout=kserve and storage= belong together", "layout=kserve storage=s3://bucket/ads")
    paths = _paths(arguments)
    opened = [
        open_run(replace(arguments, own={**arguments.own, "run": path}), console, rows=rows and not number)
        for number, path in enumerate(paths)
    ]
    (run, config), *others = opened
    send = arguments.switch("artefacts", "false")
    if send and not _trackers(config):
        raise MtlError(f"artefacts: {run.path} has no tracker", "add run.loggers=[mlflow] or [wandb]")
    if process_rank() > 0:
        return None
    register = _registration(arguments, run, config) if "register" in arguments.own else None

    from mtl_lightning.export.compression import Compression
    from mtl_lightning.export.write import export_run
    from mtl_lightning.report.training.terminal import quiet_lightning

    quiet_lightning()
    out = Path(arguments.own["out"])
    score = arguments.own.get("score", tuned_formula(run))
    manifest = export_run(
        run,
        config,
        out,
        others=others,
        score=score,
        calibrate=calibrate,
        calibrate_by=arguments.own.get("calibrate_by"),
        histories=histories,
        compression=Compression(**types, max_auc_loss=loss),
        compiled=compiled,
        layout=layout,
        storage=arguments.own.get("storage", ""),
    )
    sizes = {name: file["bytes"] for name, file in manifest.files.items()}
    say(console, f"{out}: {', '.join(sizes)}, manifest.json; {sum(sizes.values()):,} bytes")
    say(console, f"score = {manifest.score}" if manifest.score else "no combined score")
    if send:
        _send_artefacts(run, config, out)
    graphs = manifest.compressed.get("graphs", [])
    if graphs:
        console.print(_graphs_table(graphs))
    content = {"out": str(out), "files": sizes, "bytes": sum(sizes.values()), "score": manifest.score, "graphs": graphs}
    if register is None:
        return {**content, "registered": None}
    name = _registry_of(arguments)[1]
    registered = {"name": name, "version": register(out / "1" if layout == "triton" else out)}
    say(console, f"registered: {name}, version {registered['version']}")
    return {**content, "registered": registered}


def _registry_of(arguments: Arguments) -> tuple[str, str]:
    """Return the logger and the name of the model in ``register=<logger>:/<name>``."""
    service, _, name = arguments.own["register"].partition(":/")
    if not service or not name:
        raise arguments.wrong("register", "write mlflow:/NAME")
    return service, name


def _registration(arguments: Arguments, run: RunDirectory, config: Config) -> Callable[[Path], int]:
    """Return the function that registers an export, with the options of the run's logger if it has that logger."""
    from mtl_lightning.build import build_loggers
    from mtl_lightning.loggers.tracker import Tracker

    service, name = _registry_of(arguments)
    chosen = tuple(component for component in config.run.loggers if component.name == service) or (Component(service),)
    (logger,) = build_loggers(replace(config, run=replace(config.run, loggers=chosen[:1])), run.path)
    if not isinstance(logger, Tracker):
        raise arguments.wrong("register", "write mlflow:/NAME")
    return logger.registration(name)


def _trackers(config: Config) -> list[str]:
    from mtl_lightning.loggers.tracker import Tracker

    names = [component.name for component in config.run.loggers]
    return [name for name in names if issubclass(registry().resolve("logger", name), Tracker)]


def _send_artefacts(run: RunDirectory, config: Config, out: Path) -> None:
    """Send an export to the trackers of its run, which is continued there; one that is gone gives a warning."""
    from mtl_lightning.build import build_loggers
    from mtl_lightning.loggers.tracker import Tracker

    files = {f"exports/{out.name}/{path.relative_to(out)}": path for path in sorted(out.rglob("*")) if path.is_file()}
    for logger in build_loggers(config, run.path):
        if isinstance(logger, Tracker):
            logger.log_files(files)
            logger.close("success" if run.is_complete() else "interrupted")


def _paths(arguments: Arguments) -> list[str]:
    """Return the run directories of ``run=``; a comma may be part of a name."""
    text = arguments.own["run"]
    paths = [text] if Path(text).is_dir() else [path.strip() for path in text.split(",")]
    if "" in paths or len({Path(path).resolve() for path in paths}) < len(paths):
        raise arguments.wrong("run", "different run directories, separated by commas")
    return paths


def _graphs_table(graphs: Sequence[dict[str, Any]]) -> Table:
    tasks = list(graphs[0]["auc"])
    table = plain_table(["graph"], ["bytes", "ms / 100 rows", *(f"AUC {task}" for task in tasks)])
    for graph in graphs:
        areas = [number(math.nan if graph["auc"][task] is None else graph["auc"][task]) for task in tasks]
        table.add_row(graph["name"], f"{graph['bytes']:,}", f"{graph['milliseconds']:.3f}", *areas)
    return table
