"""Conversion rate over all impressions: the entire-space heads against plain click-space training, by the oracle.

Clicks depend on what makes conversions, so a rate that is learned on clicks alone is judged here where it is used: on
every impression of the test split, against the simulator's true P(conversion | click). Prints a Markdown table.

Usage: ``python benchmarks/conversion.py [SEEDS [ROWS]]``
"""

import sys
import tempfile

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
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
    "escm2, dr": (CLICKED, {"name": "escm2", "predicts": "conditional"}, {"name": "escm2", "method": "dr"}),
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


def main(seeds: int = 3, rows: int = 400_000) -> None:
    """Run every contender and print the table."""
    print("| method | expected AUC | expected log-loss | mean / true mean |\n|---|---|---|---|")
    for name in CONTENDERS:
        found = np.array([run(name, seed, rows) for seed in range(seeds)])
        cells = [f"{mean:.4f} ± {spread:.4f}" for mean, spread in zip(found.mean(0), found.std(0), strict=True)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
