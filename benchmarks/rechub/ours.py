"""This package's side: preparation and export of the data, and training of a model by Lightning's Trainer."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from numpy.typing import NDArray
from sizes import (
    BATCH,
    DEFAULT_RATE,
    EPOCHS,
    EXPERTS,
    HIDDEN,
    LEVEL_HIDDEN,
    LEVELS,
    OWN,
    PATIENCE,
    SHARED,
    TOWER,
    WIDTH,
)

from mtl_lightning.build import build_data, build_module
from mtl_lightning.config import compose, validate
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.fitting.checkpointing import Checkpoints
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO
from mtl_lightning.runs.directory import BEST

ROWS = {"ads": ["source.rows=60000"], "movielens": []}
TASKS = {
    "ads": {
        "click": {"kind": "binary", "label": "click"},
        "conversion": {"kind": "binary", "label": "conversion", "parents": ["click"]},
    },
    "movielens": {
        "like": {"kind": "binary", "label": "rating >= 4"},
        "love": {"kind": "binary", "label": "rating == 5", "parents": ["like"]},
    },
}
TABLE_RATE = 20
"""Ratio of the tables' learning rate to the dense weights', as in the package's defaults."""
SIZED = {
    "shared_bottom": {"name": "shared_bottom", "hidden": HIDDEN},
    "mmoe": {"name": "mmoe", "experts": EXPERTS, "hidden": HIDDEN},
    "ple": {"name": "ple", "hidden": LEVEL_HIDDEN, "levels": LEVELS, "own_experts": OWN, "shared_experts": SHARED},
    "aitm": {"name": "single_task", "hidden": HIDDEN},
}


def recipe(name: str) -> dict[str, Any]:
    """Configuration of a recipe with two binary tasks."""
    plain = compose(name, ROWS[name]).plain
    plain["tasks"] = TASKS[name]
    plain["heads"] = {task: head for task, head in plain.get("heads", {}).items() if task in TASKS[name]}
    plain["data"]["batch_size"] = BATCH[name]
    return plain


def data(name: str) -> DataModule:
    """Prepare the recipe's rows and features."""
    module = build_data(validate(recipe(name)))
    module.prepare()
    return module


def export(module: DataModule, path: Path) -> None:
    """Write the encoded rows of all splits, column by column, with a description of the columns for the peer."""
    schema, arrays = module.schema, {}
    for split, store in module.prepared.stores.items():
        assert bool(store.parts["mask"].all())
        for part, kind in (("ids", "categorical"), ("dense", "numeric")):
            for index, field in enumerate(schema.of_kind(kind)):
                arrays[f"{split}/{field.name}"] = store.parts[part][:, index].numpy()
        for field in schema.of_kind("sequence"):
            arrays[f"{split}/{field.name}"] = store.parts[f"sequence/{field.name}"].numpy()
        arrays[f"{split}/labels"] = store.parts["labels"].numpy()
    fields = [
        {"name": field.name, "kind": field.kind, "size": field.size, "table": field.table}
        for kind in ("categorical", "sequence", "numeric")
        for field in schema.of_kind(kind)
    ]
    facts = {"fields": fields, "tasks": [task.name for task in schema.tasks]}
    np.savez(path, facts=json.dumps(facts), **arrays)


def settings(name: str, architecture: str, rate: float | None) -> tuple[dict[str, Any], int, int]:
    """Options of the module, epochs and patience; without a rate, all but the architecture is as in the recipe."""
    plain = recipe(name)
    child = list(TASKS[name])[1]
    if rate is None:
        heads = plain["heads"] | ({child: "aitm"} if architecture == "aitm" else {})
        options = {
            "encoder": plain["encoder"], "heads": heads, "weighter": plain["weighter"],
            "optimizer": plain["optimizer"],
            "architecture": {"name": SIZED[architecture]["name"]},
        }  # fmt: skip
        return options, plain["trainer"]["max_epochs"], plain.get("run", {}).get("patience") or EPOCHS
    heads = {task: {"name": "binary", "hidden": TOWER} for task in TASKS[name]}
    heads |= {child: {"name": "aitm", "hidden": TOWER}} if architecture == "aitm" else {}
    options = {
        "encoder": {"name": "embedding", "width": WIDTH[name], "numeric": "plain"},
        "architecture": SIZED[architecture],
        "heads": heads,
        "optimizer": {} if rate == DEFAULT_RATE else {"lr": rate, "table_lr": TABLE_RATE * rate},
    }
    return options, EPOCHS, PATIENCE


def train(
    module: DataModule, name: str, architecture: str, rate: float | None, seed: int
) -> tuple[dict[str, NDArray[np.floating]], int]:
    """Train a model; return predictions [N, T] of validation and test by the best epoch, and the number of epochs."""
    options, epochs, patience = settings(name, architecture, rate)
    seed_everything(seed, verbose=False)
    module.seed = seed
    model = build_module(module.schema, seed=seed, **options)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, num_sanity_val_steps=0,
            enable_model_summary=False, default_root_dir=folder, use_distributed_sampler=False,
            callbacks=[Checkpoints(folder, every_n_steps=0, patience=patience)], plugins=[AtomicCheckpointIO()],
        )  # fmt: skip
        trainer.fit(model, datamodule=module)
        model.load_state_dict(AtomicCheckpointIO().load_checkpoint(Path(folder) / BEST)["state_dict"])
    network, tasks, predictions = model.network.eval(), list(TASKS[name]), {}
    with torch.inference_mode():
        for split in ("validation", "test"):
            values = [network(batch) for batch in Loader(module.prepared.stores[split], 8192)]
            by_task = [torch.cat([value[task] for value in values]).numpy() for task in tasks]
            predictions[split] = np.stack(by_task, axis=1)
    return predictions, trainer.current_epoch
