"""Conversion rate over all impressions: entire-space heads compared with training on clicks, by the oracle.

Clicks and conversions have common causes, so a rate learned on clicks only is biased. Here it is judged on every
impression of the test split, against the simulator's true P(conversion | click). Each seed is another world, in which
all methods see the same rows. The table shows the difference to click space within worlds, with its 95% interval and
the p-value of Wilcoxon's test.

Usage::

    python benchmarks/conversion.py OUT.jsonl [--worlds 20] [--rows 50000] [--selection 1] [--model linear]

Results in OUT are not computed again; with ``--seconds``, no run starts after this time. ``--selection 0`` is a world
without selection. ``linear`` predicts conversions by a linear function of embeddings and numbers (clicks by a small
network), ``network`` by a trunk and a tower of the default sizes. Prints a Markdown table. Options of losses were
chosen per kind of world, on worlds 100 and above (``--first 100``); the table uses worlds 0 and above.
"""

import argparse
import json
import logging
import tempfile
import time
import warnings
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
ESCM2, DCMT = ({"name": name, "predicts": "conditional"} for name in ("escm2", "dcmt"))
LABELS = {"click space": CLICKED, "esmm": JOINT, "escm2, ipw": CLICKED, "escm2, dr": CLICKED, "dcmt": CLICKED}
HEADS = {
    "click space": {"name": "binary"},
    "esmm": {"name": "esmm"},
    "escm2, ipw": ESCM2,
    "escm2, dr": ESCM2,
    "dcmt": DCMT,
}
IPW, DR = ({"name": "escm2", "method": method} for method in ("ipw", "dr"))
PLAIN_WORLD = {
    "escm2, ipw": {**IPW, "weight": 0.5, "clip": 0.1},
    "escm2, dr": {**DR, "weight": 0.1, "clip": 0.01},
    "dcmt": {"name": "dcmt", "weight": 0.1, "clip": 0.01},
}
SELECTED_WORLD = {
    "escm2, ipw": {**IPW, "weight": 0.5, "clip": 0.02},
    "escm2, dr": {**DR, "weight": 0.3, "clip": 0.05},
    "dcmt": {"name": "dcmt", "weight": 0.3, "clip": 0.02},
}
SIZES = {"linear": [], "network": [32]}
"""Hidden layers of the conversion's tower."""
TRUNKS = {"linear": [], "network": [128, 64]}
OPTIMIZER = {"lr": 2e-3, "table_lr": 0.1, "schedule": "linear"}


def expected_auc(chance: np.ndarray, score: np.ndarray) -> float:
    """AUC in which each row counts as a positive with its true probability, and as a negative with the rest."""
    label = np.repeat([1, 0], len(chance))
    return float(roc_auc_score(label, np.tile(score, 2), sample_weight=np.concatenate([chance, 1 - chance])))


def run(name: str, world: int, options: argparse.Namespace) -> tuple[float, float, float]:
    """Expected AUC and log-loss of the predicted rate on the test impressions, and its mean over the true mean."""
    task, head = LABELS[name], {**HEADS[name], "hidden": SIZES[options.model]}
    loss = (SELECTED_WORLD if options.selection else PLAIN_WORLD).get(name, "bce")
    data = DataModule(
        Simulator(rows=options.rows, seed=world, selection=options.selection),
        tasks={"click": {"kind": "binary", "label": "click"}, "conversion": task}, raw=["oracle_cvr"], batch_size=1024,
        seed=world,
    )  # fmt: skip
    data.prepare()
    seed_everything(world, verbose=False)
    module = build_module(
        data.schema, encoder={"name": "embedding", "numeric": "plain"},
        architecture={"name": "shared_bottom", "hidden": TRUNKS[options.model]},
        heads={"conversion": head}, losses={"conversion": loss}, optimizer=OPTIMIZER, seed=world,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=options.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, limit_val_batches=0,
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


def gain(values: np.ndarray, base: np.ndarray, places: int) -> str:
    """Mean difference with its 95% interval and the p-value of Wilcoxon's test."""
    difference = values - base
    half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / np.sqrt(len(difference))
    p = stats.wilcoxon(difference).pvalue
    shown = f"{p:.2g}" if p >= 1e-4 else "< 1e-4"
    return f"{difference.mean():+.{places}f} ± {half:.{places}f} (p {shown})"


def table(figures: dict[tuple[str, int], list[float]], worlds: range) -> None:
    """Print the table over all worlds with results of all methods."""
    done = [world for world in worlds if all((name, world) in figures for name in LABELS)]
    if len(done) < 2:
        return
    print(
        f"{len(done)} worlds\n\n| method | expected AUC | against click space | worlds better | expected log-loss |",
        end="",
    )
    print(" against click space | mean / true mean |\n|---|---|---|---|---|---|---|")
    base = np.array([figures["click space", world] for world in done])
    for name in LABELS:
        values = np.array([figures[name, world] for world in done])
        auc, entropy, level = values.mean(0)
        first, better, second = "–", "–", "–"
        if name != "click space":
            first, second = (gain(values[:, i], base[:, i], 4) for i in (0, 1))
            better = f"{(values[:, 0] > base[:, 0]).sum()} of {len(done)}"
        print(f"| {name} | {auc:.4f} | {first} | {better} | {entropy:.4f} | {second} | {level:.3f} |")


def main() -> None:
    """Run the missing trainings, world by world, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--selection", type=float, default=1.0)
    parser.add_argument("--model", choices=list(SIZES), default="linear")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    end = time.monotonic() + options.seconds
    case = {name: getattr(options, name) for name in ("rows", "epochs", "selection", "model")}
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    figures = {(line["method"], line["world"]): line["figures"] for line in lines if line["case"] == case}
    worlds = range(options.first, options.first + options.worlds)
    for world in worlds:
        for name in LABELS:
            if (name, world) not in figures and time.monotonic() < end:
                figures[name, world] = list(run(name, world, options))
                record = {"case": case, "method": name, "world": world, "figures": figures[name, world]}
                with options.out.open("a") as file:
                    print(json.dumps(record), file=file)
    table(figures, worlds)


if __name__ == "__main__":
    main()
