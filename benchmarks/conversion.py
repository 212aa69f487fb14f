"""Conversion rate over all impressions: the entire-space heads against plain click-space training, by the oracle.

Clicks depend on what makes conversions, so a rate that is learned on clicks alone is judged here where it is used: on
every impression of the test split, against the simulator's true P(conversion | click). Each seed is another world, in
which all methods see the same rows; what is compared is therefore the difference to click space within a world.

Usage: ``python benchmarks/conversion.py WORLDS ROWS OUT.jsonl``; what OUT holds already is not run again. Prints a
Markdown table. The losses' defaults were chosen on worlds 100 to 102; worlds from 0 on are for the table.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from scipy import stats
from sklearn.metrics import roc_auc_score

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator

CLICKED = {"kind": "binary", "label": "conversion", "observed_when": "click == 1", "parents": ["click"]}
JOINT = {"kind": "binary", "label": "conversion", "parents": ["click"]}
CONTENDERS = {
    "click space": (CLICKED, "binary", "bce"),
    "esmm": (JOINT, "esmm", "bce"),
    "escm2, ipw": (CLICKED, {"name": "escm2", "predicts": "conditional"}, {"name": "escm2", "method": "ipw"}),
    "escm2, dr": (
        CLICKED,
        {"name": "escm2", "predicts": "conditional"},
        {"name": "escm2", "method": "dr", "weight": 0.1, "clip": 0.01},
    ),
    "dcmt": (CLICKED, {"name": "dcmt", "predicts": "conditional"}, "dcmt"),
}
OPTIMIZER = {"lr": 2e-3, "table_lr": 0.1, "schedule": "linear"}


def expected_auc(chance: np.ndarray, score: np.ndarray) -> float:
    """AUC if every row were a positive with its true chance and a negative with the rest."""
    label = np.repeat([1, 0], len(chance))
    return float(roc_auc_score(label, np.tile(score, 2), sample_weight=np.concatenate([chance, 1 - chance])))


def run(name: str, seed: int, rows: int) -> tuple[float, float, float]:
    """Expected AUC, expected log-loss and mean over the true mean, of the predicted rate on the test impressions."""
    task, head, loss = CONTENDERS[name]
    seed_everything(seed, verbose=False)
    data = DataModule(
        Simulator(rows=rows, seed=seed), tasks={"click": {"kind": "binary", "label": "click"}, "conversion": task},
        raw=["oracle_cvr"], batch_size=1024, seed=seed,
    )  # fmt: skip
    data.prepare()
    module = build_module(
        data.schema, heads={"conversion": head}, losses={"conversion": loss}, optimizer=OPTIMIZER, seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
    data.setup("test")
    network = module.network.eval()
    rates, chances = [], []
    with torch.no_grad():
        for batch in data.test_dataloader():
            output = network.outputs(batch)[0]["conversion"]
            rates.append(output.extra.get("conditional", output.logit)[:, 0].sigmoid())
            chances.append(batch.raw["oracle_cvr"])
    rate, chance = torch.cat(rates).double().numpy(), torch.cat(chances).double().numpy()
    entropy = -(chance * np.log(rate) + (1 - chance) * np.log1p(-rate)).mean()
    return expected_auc(chance, rate), float(entropy), float(rate.mean() / chance.mean())


def main(worlds: int, rows: int, out: Path) -> None:
    """Run what is missing, world by world, and print the table."""
    found: dict[tuple[str, int], tuple[float, ...]] = {}
    if out.exists():
        for line in out.read_text().splitlines():
            record = json.loads(line)
            if record["rows"] == rows:
                found[record["method"], record["world"]] = tuple(record["figures"])
    for world in range(worlds):
        for name in CONTENDERS:
            if (name, world) not in found:
                found[name, world] = run(name, world, rows)
                record = {"method": name, "world": world, "rows": rows, "figures": found[name, world]}
                with out.open("a") as file:
                    file.write(json.dumps(record) + "\n")
    print("| method | expected AUC | against click space | worlds better | expected log-loss | mean / true mean |")
    print("|---|---|---|---|---|---|")
    base = np.array([found["click space", world] for world in range(worlds)])
    for name in CONTENDERS:
        values = np.array([found[name, world] for world in range(worlds)])
        gain = values[:, 0] - base[:, 0]
        half = stats.t.ppf(0.975, worlds - 1) * gain.std(ddof=1) / np.sqrt(worlds)
        auc, entropy, level = values.mean(0)
        against = "–" if name == "click space" else f"{gain.mean():+.4f} ± {half:.4f}"
        better = "–" if name == "click space" else f"{(gain > 0).sum()} of {worlds}"
        print(f"| {name} | {auc:.4f} | {against} | {better} | {entropy:.4f} | {level:.3f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
