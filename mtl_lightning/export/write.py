"""Export of a run into a new folder, which appears when it is complete."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import Component, Config
from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.store.latest_events import LatestEvents, export_latest, open_latest
from mtl_lightning.errors import MtlError
from mtl_lightning.export.calibration import measure
from mtl_lightning.export.extras import need
from mtl_lightning.export.formula import Formula, default_formula
from mtl_lightning.export.graph import save_onnx, save_pt2, trace
from mtl_lightning.export.manifest import FORMAT, MODEL, PROGRAM, TRANSFORMS, WEIGHTS, Manifest, describe
from mtl_lightning.export.signature import columns_of, output_of
from mtl_lightning.files import TEMPORARY
from mtl_lightning.plugins import registry
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.schema import Schema
from mtl_lightning.training.network import Network

PACKAGES = ("torch", "onnx", "onnxscript", "safetensors", "mtl-lightning")
"""Packages whose versions the manifest holds."""


def export_run(
    run: RunDirectory,
    config: Config,
    out: Path,
    *,
    score: str | None = None,
    calibrate: bool = True,
    histories: bool = False,
) -> Manifest:
    """Write an export of a run's best weights, and return its manifest.

    Args:
        run: Directory of the run.
        config: Configuration of the run.
        out: Folder to create.
        score: Formula of the combined score; None for :func:`default_formula`, an empty text for no score.
        calibrate: Whether to measure calibration on the validation split, which needs the data of the run.
        histories: Whether to export each user's latest events, so that rows need not bring events.

    Raises:
        MtlError: If the folder exists, a package is missing, the formula is wrong, or the network cannot be exported.
        DataError: If the data for the calibration cannot be read, or the formula is not an expression.
    """
    for module in ("onnx", "onnxscript", "onnxruntime", "safetensors"):
        need(module, "export")
    if out.exists() or out.is_symlink():
        raise MtlError(f"out: {out} exists already", "choose another name")
    if not out.parent.is_dir():
        raise MtlError(f"out: there is no directory {out.parent}")
    transforms = Transforms.load(run.transforms)
    schema = transforms.schema
    if histories:
        transforms.serve(_latest(run, transforms))
    network = _network(run, config, schema)
    formula = (default_formula(schema) if score is None else score) or None
    if formula is not None:
        # Check the formula before the calibration is measured, with a placeholder for it.
        Formula(formula, schema, {task.name: {"a": 1.0, "b": 0.0} for task in schema.tasks} if calibrate else {})
    calibration = _calibration(network, config) if calibrate else {}
    if formula is not None:
        Formula(formula, schema, calibration)

    partial = out.with_name(out.name + TEMPORARY)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        program, example = trace(network)
        save_onnx(program, example, [task.name for task in schema.tasks], partial / MODEL)
        save_pt2(program, partial / PROGRAM)
        state = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
        # Copies, since safetensors cannot represent names that share memory.
        weights = {name: value.detach().clone().contiguous() for name, value in state.items()}
        need("safetensors.torch", "export").save_file(weights, partial / WEIGHTS)
        transforms.save(partial / TRANSFORMS)
        for name, latest in transforms.live.latest.items():
            export_latest(latest, partial, name)
        manifest = Manifest(
            format=FORMAT,
            recipe=str(run.load_json("recipe.json") or ""),
            checkpoint=run.weights().name,
            components=_components(config),
            plugins=registry().versions(),
            packages={name: version(name) for name in PACKAGES},
            schema=schema.to_dict(),
            inputs=[_input(name, value) for name, value in example.items()],
            columns=columns_of(transforms, example),
            outputs={task.name: output_of(task) for task in schema.tasks},
            calibration=calibration,
            score=formula,
            files=describe(partial),
        )
        manifest.save(partial)
        partial.replace(out)
    except OSError as error:
        raise MtlError(f"{out} can't be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


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
    return module.network.eval()


def _calibration(network: Network, config: Config) -> dict[str, dict[str, Any]]:
    data = build_data(config)
    store = data.prepare().stores.get("validation")
    if store is None or not len(store):
        return {}
    if data.schema != network.schema:
        raise MtlError("the run was trained on other data, so that it can't be calibrated", "set calibrate=false")
    return measure(network, store, config.data.eval_batch_size)


def _components(config: Config) -> dict[str, Any]:
    def plain(component: Component) -> dict[str, Any]:
        return {"name": component.name, **component.options}

    heads = {name: plain(head) for name, head in config.heads.items()}
    return {"encoder": plain(config.encoder), "architecture": plain(config.architecture), "heads": heads}


def _input(name: str, value: Tensor) -> dict[str, Any]:
    return {"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": [None, *value.shape[1:]]}
