"""Thousands of damaged checkpoints, manifests and transforms: each is refused in words, or used without an error."""

import json
import random
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import random_changes
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn

from mtl_lightning.analysis.affinity import AffinityCallback
from mtl_lightning.analysis.divergence import DivergenceCallback
from mtl_lightning.analysis.gradient_relations import RelationsCallback
from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.graph import save_onnx, save_pt2, trace
from mtl_lightning.export.manifest import FORMAT, Manifest, describe
from mtl_lightning.export.signature import columns_of, output_of
from mtl_lightning.fitting.checkpointing import Checkpoints, RandomStates, restore_random_state
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO, CheckpointError
from mtl_lightning.runs.directory import LAST, PREVIOUS
from mtl_lightning.runs.resumption import Expectation
from mtl_lightning.training.module import MultiTaskModule

pytestmark = [
    pytest.mark.xdist_group("altered"),  # one model for all of them
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
SECONDS = 10
"""Time that one file may take; most take a hundredth of a second."""
FEATURES: dict[str, Any] = {
    "user": "categorical",
    "item": {"kind": "categorical", "min_count": 2},
    "age": "numeric",
    "price": {"kind": "numeric", "transform": "log", "missing": 1.0},
    "worth": {"kind": "buckets", "column": "price", "count": 4},
    "hour": {"kind": "date", "column": "at", "part": "hour"},
    "pair": {"kind": "cross", "of": ["user", "hour"], "size": 50},
    "code": {"kind": "hashed", "column": "user", "size": 40},
    "seen": {"kind": "sequence", "of": "item", "length": 3},
    "tags": {"kind": "sequence", "length": 2},
    "title": {"kind": "text", "size": 60, "length": 4},
    "image": {"kind": "vector", "size": 2},
}
TASKS: dict[str, Any] = {
    "click": "binary",
    "buy": {"kind": "binary", "parents": ["click"], "observed_when": "click == 1"},
    "stars": {"kind": "multiclass", "label": "stars"},
}


def rows(count: int) -> dict[str, list[Any]]:
    draw = np.random.default_rng(count)
    return {
        "user": [f"u{i}" for i in draw.integers(0, 9, count)],
        "item": draw.integers(0, 20, count).tolist(),
        "age": draw.normal(40, 10, count).tolist(),
        "price": draw.exponential(10, count).tolist(),
        "at": [f"2026-01-{day:02d} {day % 24:02d}:30:00" for day in draw.integers(1, 28, count)],
        "seen": [[int(i) for i in draw.integers(0, 20, n)] for n in draw.integers(0, 5, count)],
        "tags": [["a", "b", "c"][:n] for n in draw.integers(0, 4, count)],
        "title": [f"red dress {n}" for n in draw.integers(0, 9, count)],
        "image": draw.normal(size=(count, 2)).tolist(),
        "click": draw.integers(0, 2, count).tolist(),
        "buy": draw.integers(0, 2, count).tolist(),
        "stars": [f"s{n}" for n in draw.integers(1, 4, count)],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("altered")


@pytest.fixture(scope="module")
def data(folder: Path) -> DataModule:
    table = pa.table(rows(300))
    built = DataModule.from_frame(
        table, features=FEATURES, tasks=TASKS, split={"by": "random"}, batch_size=64, cache_dir=folder
    )
    built.prepare()
    return built


def model(data: DataModule, folder: Path) -> tuple[MultiTaskModule, Trainer, AtomicCheckpointIO]:
    torch.manual_seed(0)
    module = build_module(
        data.schema,
        encoder={"name": "embedding", "width": 4},
        architecture={"name": "shared_bottom", "hidden": [8]},
        weighter="dwa",
        optimizer={"schedule": "cosine", "warmup_steps": 2},
    )
    io = AtomicCheckpointIO({"core": "1"})
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, plugins=[io],
        callbacks=[
            RandomStates(), RelationsCallback(1), AffinityCallback(2), DivergenceCallback(), Checkpoints(folder),
        ],
    )  # fmt: skip
    return module, trainer, io


@pytest.fixture(scope="module")
def trained(data: DataModule, folder: Path) -> Path:
    """A folder with last.ckpt and previous.ckpt."""
    module, trainer, _ = model(data, folder / "run")
    trainer.fit(module, datamodule=data)
    return folder / "run"


@pytest.fixture(scope="module")
def export(data: DataModule, folder: Path) -> Path:
    out = folder / "export"
    out.mkdir()
    module, _, _ = model(data, folder)
    program, example = trace(module.network)
    save_onnx(program, example, list(data.schema.task_index), out / "model.onnx")
    save_pt2(program, out / "model.pt2")
    (out / "weights.safetensors").write_bytes(b"")
    data.prepared.transforms.save(out / "transforms.json")
    Manifest(
        format=FORMAT,
        recipe="mine",
        checkpoint="best.ckpt",
        components={"encoder": {"name": "embedding"}},
        plugins={"core": "1"},
        packages={"torch": "2"},
        schema=data.schema.to_dict(),
        inputs=[
            {"name": name, "dtype": str(item.dtype).removeprefix("torch."), "shape": [None, *item.shape[1:]]}
            for name, item in example.items()
        ],
        columns=columns_of(data.prepared.transforms, example),
        outputs={task.name: output_of(task) for task in data.schema.tasks},
        calibration={"click": {"rows": 9.0, "predicted": 0.5, "observed": 0.4, "a": 1.0, "b": 0.1, "reliability": []}},
        score="calibrated_click * p_buy",
        files=describe(out),
    ).save(out)
    return out


def restore(data: DataModule, folder: Path, content: dict[str, Any]) -> None:
    """Restore a checkpoint as Lightning does, and take a step with it."""
    module, trainer, _ = model(data, folder)
    module.load_state_dict(content["state_dict"])
    trainer.strategy.connect(module)
    trainer.fit_loop.load_state_dict(content["loops"]["fit_loop"])
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if callback.state_key in content["callbacks"]:
            callback.load_state_dict(content["callbacks"][callback.state_key])
    module._total_steps = lambda: 10  # type: ignore[method-assign]
    built = module.configure_optimizers()
    built["optimizer"].load_state_dict(content["optimizer_states"][0])
    built["lr_scheduler"]["scheduler"].load_state_dict(content["lr_schedulers"][0])
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for table in module.network.encoder.table_parameters():
        table.grad = torch.zeros_like(table).to_sparse(1)
    built["optimizer"].step()
    built["lr_scheduler"]["scheduler"].step()
    for state in content.get("random_states", ()):
        restore_random_state(state)


def timed(seed: int, work: Callable[[], Any]) -> Any:
    started = time.monotonic()
    try:
        return work()
    except MtlError as error:
        str(error).encode()  # it can be printed
        return None
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    finally:
        assert time.monotonic() - started < SECONDS, seed


def check_checkpoints(data: DataModule, trained: Path, path: Path, seeds: range) -> None:
    module, trainer, io = model(data, path)
    trainer.state.fn = TrainerFn.FITTING
    io.expect = Expectation(module, trainer)
    raw = (trained / LAST).read_bytes()
    content = io.load_checkpoint(trained / LAST)
    shutil.copy(trained / PREVIOUS, path / PREVIOUS)
    before = io.load_checkpoint(path / PREVIOUS)
    assert before["global_step"] < content["global_step"]
    kinds = {"refused": 0, "used": 0}
    for seed in seeds:
        rng = random.Random(seed)
        kind, now = rng.randrange(4), None
        if kind == 0:
            (path / LAST).write_bytes(random_changes.cut(rng, raw))
        elif kind == 1:
            (path / LAST).write_bytes(random_changes.pickled(rng, raw))
        else:
            changed, place, now = random_changes.tree(rng, content)
            torch.save(changed, path / LAST)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = timed(seed, lambda: io.load_checkpoint(path / LAST))
        assert result is not None, f"seed {seed}: the predecessor was not taken"
        if any("continuing with previous.ckpt" in str(item.message) for item in caught):
            assert result["global_step"] == before["global_step"], seed
            kinds["refused"] += 1
            continue
        if now is not None and random_changes.broken(now):
            assert place[0] not in ("state_dict", "optimizer_states"), (seed, place)
        timed(seed, lambda content=result: restore(data, path, content))
        kinds["used"] += 1
    assert kinds["refused"] > kinds["used"]


def check_transforms(data: DataModule, path: Path, seeds: range) -> None:
    content = json.loads(json.dumps(data.prepared.transforms.to_dict()))
    sample, target = rows(2), path / "transforms.json"
    accepted = 0
    for seed in seeds:
        rng = random.Random(seed)
        place: list[Any] = []
        now = None
        if rng.randrange(4):
            changed, place, now = random_changes.tree(rng, content)
            text = json.dumps(changed)
        else:
            text = random_changes.cut(rng, json.dumps(content).encode()).decode("latin1")
        target.write_bytes(text.encode("utf-8", "surrogatepass"))
        result = timed(seed, lambda: Transforms.load(target))
        if result is None:
            continue
        accepted += 1
        assert not random_changes.broken(now) or (place[1:2] == ["worth"] and "edges" in place), (seed, place)
        timed(seed, lambda item=result: item.encode(pa.table(sample)))
        timed(seed, lambda entry=result: RowEncoder(entry).encode(sample, 2))
        timed(seed, lambda element=result: element.save(target))
    assert accepted < len(seeds) / 2


def check_manifests(export: Path, seeds: range) -> None:
    whole = (export / "manifest.json").read_text()
    content, sample = json.loads(whole), rows(2)
    try:
        for seed in seeds:
            rng = random.Random(seed)
            place: list[Any] = []
            now = None
            if rng.randrange(4):
                changed, place, now = random_changes.tree(rng, content)
                text = json.dumps(changed)
            else:
                text = random_changes.cut(rng, whole.encode()).decode("latin1")
            (export / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
            bundle = timed(seed, lambda: Bundle.open(export))
            if bundle is not None:
                assert not random_changes.broken(now), (seed, place)
                predictions, _ = bundle.score({name: sample[name] for name in bundle.manifest.columns}, 2)
                assert {name: len(item) for name, item in predictions.items()} == {"click": 2, "buy": 2, "stars": 2}
    finally:
        (export / "manifest.json").write_text(whole)


@pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_checkpoints(data: DataModule, trained: Path, tmp_path: Path, first: int) -> None:
    check_checkpoints(data, trained, tmp_path, range(20, 1000) if first else range(20))


@pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_transforms(data: DataModule, tmp_path: Path, first: int) -> None:
    check_transforms(data, tmp_path, range(20, 2200) if first else range(20))


@pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_manifests(export: Path, first: int) -> None:
    check_manifests(export, range(20, 1860) if first else range(20))


def test_the_altered_files_are_right_before_they_are_altered(data: DataModule, trained: Path, export: Path) -> None:
    restore(data, trained, AtomicCheckpointIO().load_checkpoint(trained / LAST))
    sample = rows(2)
    bundle = Bundle.open(export)
    predictions, score = bundle.score({name: sample[name] for name in bundle.manifest.columns}, 2)
    assert score is not None
    assert len(score) == len(predictions["stars"]) == 2
    with pytest.raises(CheckpointError, match=r"[Nn]o such file"):
        AtomicCheckpointIO().load_checkpoint(trained / "none.ckpt")
    with pytest.raises(DataError, match="no such file"):
        Transforms.load(trained / "none.json")
