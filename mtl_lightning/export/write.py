"""Export of a run into a new folder, which appears when it is complete."""

import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import Component, Config
from mtl_lightning.data.preparation.growth import vocabularies
from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.preparation.state_file import read_state
from mtl_lightning.data.store.latest_events import LatestEvents, export_latest, open_latest
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import MtlError
from mtl_lightning.export.calibration import check_parts, measure
from mtl_lightning.export.calibration_fits import METHODS
from mtl_lightning.export.compiled import PACKAGE, compile_package
from mtl_lightning.export.compression import Compression, compress
from mtl_lightning.export.compression_quality import check_loss, measure_graphs
from mtl_lightning.export.ensemble import Average, check_equal_inputs
from mtl_lightning.export.extras import need
from mtl_lightning.export.formula import Formula, default_formula
from mtl_lightning.export.graph import save_onnx, save_pt2, trace
from mtl_lightning.export.layouts import CONFIG, KSERVE, check_name, kserve_manifest, triton_config
from mtl_lightning.export.manifest import (
    FORMAT,
    MODEL,
    PROGRAM,
    TENSORS,
    TRANSFORMS,
    WEIGHTS,
    Manifest,
    describe,
    digest,
)
from mtl_lightning.export.signature import columns_of, output_of
from mtl_lightning.files import TEMPORARY
from mtl_lightning.plugins import registry
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.schema import Schema
from mtl_lightning.training.network import Network

FLOAT32 = Compression()
"""No compression."""

PACKAGES = ("torch", "onnx", "onnxscript", "safetensors", "mtl-lightning")
"""Packages whose versions the manifest holds."""


def export_run(
    run: RunDirectory,
    config: Config,
    out: Path,
    *,
    others: Sequence[tuple[RunDirectory, Config]] = (),
    score: str | None = None,
    calibrate: str | None = METHODS[0],
    calibrate_by: str | None = None,
    histories: bool = False,
    compression: Compression = FLOAT32,
    compiled: bool = False,
    layout: str = "plain",
    storage: str = "",
) -> Manifest:
    """Write an export of a run's best weights, or of the average of several runs, and return its manifest.

    Args:
        run: Directory of the run.
        config: Configuration of the run.
        out: Folder to create.
        others: Further runs with equal tasks and inputs, whose predictions are averaged with the run's.
        score: Formula of the combined score; None for :func:`default_formula`, an empty text for no score.
        calibrate: Method of calibration, fitted on the validation split, which needs the data of the run; None to
            measure nothing.
        calibrate_by: Feature whose values are calibrated apart, or None.
        histories: Whether to export each user's latest events, so that rows need not bring events.
        compression: Types of the numbers of the graph; measured on the validation split unless they are float32.
        compiled: Whether to write an AOTInductor package as well, which is measured, too.
        layout: ``plain``; ``triton`` for a model of a Triton repository, whose version 1 is the export; ``kserve`` for
            an export with a manifest for KServe.
        storage: Address from which KServe fetches the export.

    Raises:
        MtlError: If the folder exists, a package is missing, the formula is wrong, the runs differ, the network cannot
            be exported, or compression costs too much AUC.
        DataError: If the data for the calibration cannot be read, or the formula is not an expression.
    """
    for module in ("onnx", "onnxscript", "onnxruntime", "safetensors"):
        need(module, "export")
    if out.exists() or out.is_symlink():
        raise MtlError(f"out: {out} exists already", "choose another name")
    if not out.parent.is_dir():
        raise MtlError(f"out: there is no directory {out.parent}")
    name = out.name if layout == "plain" else check_name(out, layout)
    service = kserve_manifest(name, storage) if layout == "kserve" else ""
    transforms = Transforms.load(run.transforms)
    schema = transforms.schema
    if histories:
        transforms.serve(_latest(run, transforms))
    runs = [(run, config), *others]
    if others:
        check_equal_inputs({other.path: _inputs_of(other) for other, _ in runs})
    networks = [_network(other, settings, schema) for other, settings in runs]
    network = Average(networks).eval() if others else networks[0]
    formula = (default_formula(schema) if score is None else score) or None
    if formula is not None:
        # Check the formula before the calibration is measured, with a placeholder for it.
        Formula(formula, schema, {task.name: {"a": 1.0, "b": 0.0} for task in schema.tasks} if calibrate else {})
    if calibrate_by is not None:
        check_parts(schema, calibrate_by)
    compressed = compiled or compression.name != "float32"
    store = _validation(schema, config, run) if calibrate or compressed else None
    if compressed and store is None:
        name = "compiled" if compiled else compression.name
        raise MtlError(f"{name}: the run has no validation split to measure the loss of AUC on")
    size = config.data.eval_batch_size
    calibration = measure(network, store, size, calibrate, calibrate_by) if calibrate and store is not None else {}
    if formula is not None:
        Formula(formula, schema, calibration)

    partial = out.with_name(out.name + TEMPORARY)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        folder = partial / "1" if layout == "triton" else partial
        folder.mkdir(parents=True)
        # Triton joins the rows of several calls, which would need one number of rows for all inputs.
        program, example = trace(network, requests=layout != "triton")
        save_onnx(program, example, [task.name for task in schema.tasks], folder / MODEL)
        if compiled:
            compile_package(program, folder / PACKAGE)
        save_pt2(program, folder / PROGRAM)
        inputs = list(example)
        measured = (
            _measure(folder, compression, network, store, size, inputs) if compressed and store is not None else {}
        )
        state = {key: value for key, value in network.state_dict().items() if isinstance(value, Tensor)}
        # Copies, since safetensors cannot represent names that share memory.
        weights = {key: value.detach().clone().contiguous() for key, value in state.items()}
        need("safetensors.torch", "export").save_file(weights, folder / WEIGHTS)
        for table in vocabularies(transforms).values():
            table.usage = None  # only a later run reads it
        transforms.save(folder / TRANSFORMS)
        for history, latest in transforms.live.latest.items():
            export_latest(latest, folder, history)
        if service:
            (folder / KSERVE).write_text(service, encoding="utf-8")
        manifest = Manifest(
            format=FORMAT,
            recipe=str(run.load_json("recipe.json") or ""),
            checkpoint=", ".join(other.weights().name for other, _ in runs),
            components={"average": [_components(settings) for _, settings in runs]} if others else _components(config),
            plugins=registry().versions(),
            packages={package: version(package) for package in PACKAGES},
            schema=schema.to_dict(),
            inputs=[_input(key, value) for key, value in example.items()],
            columns=columns_of(transforms, example),
            outputs={task.name: output_of(task) for task in schema.tasks},
            calibration=calibration,
            score=formula,
            files=describe(folder),
            compressed=measured,
        )
        manifest.save(folder)
        if layout == "triton":
            (partial / CONFIG).write_text(triton_config(manifest, name), encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        raise MtlError(f"{out} can't be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _inputs_of(run: RunDirectory) -> dict[str, Any]:
    """Return the fitted transforms of a run, and the hashes of its side tables."""
    tables = [path for path in sorted(run.transforms.parent.iterdir()) if path != run.transforms]
    return {"transforms": read_state(run.transforms), "files": {path.name: digest(path) for path in tables}}


def _latest(run: RunDirectory, transforms: Transforms) -> dict[str, LatestEvents]:
    if not transforms.histories:
        raise MtlError("histories: the run has no feature of kind history", "export without histories=true")
    latest = open_latest(run.latest, list(transforms.histories))
    if not latest:
        raise MtlError(f"histories: {run.path} has no events of users", "fit the run again with this version")
    return latest


def _network(run: RunDirectory, config: Config, schema: Schema) -> Network:
    module = module_from_config(config, schema)
    load_weights(module, run.weights())
    for table in module.network.encoder.table_parameters():  # runtimes look up float32 on every device
        table.data = table.data.to(torch.promote_types(table.dtype, torch.float32))
    return module.network.eval()


def _validation(schema: Schema, config: Config, run: RunDirectory) -> Store | None:
    """Return the rows of the validation split; None without any."""
    data = build_data(config, run)
    store = data.prepare().stores.get("validation")
    if store is None or not len(store):
        return None
    if data.schema != schema:
        raise MtlError(
            "the run was trained on other data, so that it can't be measured",
            "set calibrate=false without tables= and dense=",
        )
    return store


def _measure(
    folder: Path, compression: Compression, network: Network | Average, store: Store, size: int, inputs: list[str]
) -> dict[str, Any]:
    """Replace the graph by a compressed one, unless it loses too much, and return the measurements of all graphs."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as name:
        graphs = {"float32": folder / MODEL}
        if (folder / PACKAGE).exists():
            graphs["aotinductor"] = folder / PACKAGE
        for number, part in enumerate(compression.parts() if compression.name != "float32" else []):
            graphs[part.name] = compress(folder / MODEL, Path(name) / str(number), part)
        measured = measure_graphs(graphs, network, store, size, inputs)
        check_loss(measured, compression.max_auc_loss)
        if compression.name != "float32":
            (folder / TENSORS).unlink(missing_ok=True)
            for path in graphs[compression.name].parent.iterdir():
                path.replace(folder / path.name)
    types = {"tables": compression.tables, "dense": compression.dense, "max_auc_loss": compression.max_auc_loss}
    return {**types, "rows": len(store), "graphs": measured}


def _components(config: Config) -> dict[str, Any]:
    def plain(component: Component) -> dict[str, Any]:
        return {"name": component.name, **component.options}

    heads = {name: plain(head) for name, head in config.heads.items()}
    return {"encoder": plain(config.encoder), "architecture": plain(config.architecture), "heads": heads}


def _input(name: str, value: Tensor) -> dict[str, Any]:
    return {"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": [None, *value.shape[1:]]}
