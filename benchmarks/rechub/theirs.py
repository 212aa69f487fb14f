"""torch-rechub's side: its models, trained by its MTLTrainer on exported rows, in the peer's environment.

Usage: ``python theirs.py ROWS.npz OUT.npz SPECS``; a spec has ``set``, ``architecture``, ``rate`` and ``seed``.

Three things differ from its defaults. Training stops by the mean AUC of both tasks instead of a single task's. The best
weights are restored even if the last epoch is reached. Batches come from tensors, not row by row.
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from sizes import BATCH, EPOCHS, EXPERTS, HIDDEN, LEVEL_HIDDEN, LEVELS, OWN, PATIENCE, SHARED, TOWER, WIDTH
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.multi_task import AITM, MMOE, PLE, SharedBottom
from torch_rechub.trainers import MTLTrainer


class Batches:
    """Batches of a split's rows, in a new order each epoch if ``shuffled``."""

    def __init__(self, columns: dict[str, torch.Tensor], labels: torch.Tensor, size: int, shuffled: bool) -> None:
        self.columns, self.labels, self.size, self.shuffled = columns, labels, size, shuffled

    def __len__(self) -> int:
        return -(-len(self.labels) // self.size)

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        order = torch.randperm(len(self.labels)) if self.shuffled else torch.arange(len(self.labels))
        for rows in order.split(self.size):
            if len(rows) > 1 or not self.shuffled:  # batch normalisation fails on a single row
                yield {name: column[rows] for name, column in self.columns.items()}, self.labels[rows]


class Trainer(MTLTrainer):
    """MTLTrainer with the mean of all tasks' scores as its last score."""

    def evaluate(self, model, data_loader):
        scores = super().evaluate(model, data_loader)
        return [*scores, float(np.mean(scores))]


def train(facts: dict, splits: Iterable, spec: dict) -> tuple[dict[str, np.ndarray], int]:
    """Train a model; return predictions of validation and test by the best epoch, and the number of epochs."""
    torch.manual_seed(spec["seed"])
    features, width, batch = [], WIDTH[spec["set"]], BATCH[spec["set"]]
    owners = {}  # the feature that owns a table
    for field in facts["fields"]:
        name, table = field["name"], field["table"]
        if field["kind"] == "numeric":
            features.append(DenseFeature(name))
            continue
        options = {"vocab_size": field["size"], "embed_dim": width, "padding_idx": 0}
        if table in owners:
            options["shared_with"] = owners[table]
        owners.setdefault(table, name)
        if field["kind"] == "categorical":
            features.append(SparseFeature(name, **options))
        else:
            features.append(SequenceFeature(name, pooling="mean", **options))
    kinds = ["classification"] * len(facts["tasks"])
    towers = [{"dims": TOWER} for _ in kinds]
    model = {
        "shared_bottom": lambda: SharedBottom(features, kinds, {"dims": HIDDEN}, towers),
        "mmoe": lambda: MMOE(features, kinds, EXPERTS, {"dims": HIDDEN}, towers),
        "ple": lambda: PLE(features, kinds, LEVELS, OWN, SHARED, {"dims": LEVEL_HIDDEN}, towers),
        "aitm": lambda: AITM(features, len(kinds), {"dims": HIDDEN}, towers),
    }[spec["architecture"]]()
    loaders = {split: Batches(*rows, batch if split == "train" else 8192, split == "train") for split, rows in splits}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model, kinds, optimizer_params={"lr": spec["rate"], "weight_decay": 1e-5}, n_epoch=EPOCHS,
            earlystop_taskid=len(kinds), earlystop_patience=PATIENCE, model_path=folder,
        )  # fmt: skip
        log = trainer.fit(loaders["train"], loaders["validation"])
    model.load_state_dict(trainer.early_stopper.best_weights)
    predictions = {
        split: np.array(trainer.predict(model, (columns for columns, _ in loaders[split])))
        for split in ("validation", "test")
    }
    return predictions, len(log)


def main() -> None:
    """Train all models and write their predictions."""
    torch.set_num_threads(1)
    with np.load(sys.argv[1]) as rows:
        facts, splits = json.loads(str(rows["facts"])), {}
        for split in ("train", "validation", "test"):
            columns = {field["name"]: torch.from_numpy(rows[f"{split}/{field['name']}"]) for field in facts["fields"]}
            splits[split] = columns, torch.from_numpy(rows[f"{split}/labels"])
    written = {}
    for index, spec in enumerate(json.loads(sys.argv[3])):
        predictions, epochs = train(facts, list(splits.items()), spec)
        written |= {f"{index}/{split}": values for split, values in predictions.items()} | {f"{index}/epochs": epochs}
    np.savez(sys.argv[2], **written)


if __name__ == "__main__":
    main()
