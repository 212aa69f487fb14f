"""Expected AUC of encoders in the worlds of the simulator in which one ability decides.

    python benchmarks/worlds.py OUT.jsonl [--worlds crosses long_interest next_action] [--seeds 3]

Each seed is another world. A model is one trunk (``shared_bottom``) over the encoder, trained by ``sum`` with the
settings below; results in OUT are not computed again. Prints a Markdown table of the expected AUC on the test split:
the mean over seeds, the smallest and largest difference to the first encoder of the world, and CPU seconds of training.
The row "oracle" is the expected AUC of the true probabilities, which no model can beat.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import seed_everything
from trials import begin, keep, train_and_test

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator


@dataclass(frozen=True)
class World:
    """Sizes of a world and of its training, and the encoders to compare.

    Args:
        source: Options of the simulator.
        encoders: Options of each encoder; ``length`` is the length of the history.
        epochs: Epochs of training.
        lr: Learning rate of dense weights.
        table_lr: Learning rate of tables.
        batch_size: Rows of a batch.
    """

    source: dict[str, Any]
    encoders: dict[str, dict[str, Any]]
    epochs: int = 2
    lr: float = 3e-3
    table_lr: float = 0.1
    batch_size: int = 512


WORLDS = {
    "long_interest": World(
        source={"rows": 96_000, "users": 8, "items": 2_000},
        encoders={
            "`din`, latest 100": {"name": "din", "length": 100},
            "`sim`, hard": {"name": "sim", "search": "hard", "category": "category", "top": 32},
            "`sim`, soft": {"name": "sim", "top": 32},
            "`eta`": {"name": "eta", "top": 32},
            "`sdim`, 16 × 10 bits": {"name": "sdim", "rounds": 16, "bits": 10},
        },
    ),
    "next_action": World(
        source={"rows": 100_000, "users": 1_000, "items": 120},
        encoders={
            "`din`": {"name": "din"},
            "`transformer`": {"name": "transformer"},
            "`hstu`": {"name": "hstu"},
            "`transformer`, `next_action: 0.1`": {"name": "transformer", "next_action": 0.1},
            "`hstu`, `next_action: 0.1`": {"name": "hstu", "next_action": 0.1},
        },
    ),
    "crosses": World(
        source={"rows": 200_000, "users": 1_000, "items": 100},
        encoders={
            "`embedding`": {"name": "embedding"},
            "`dcn_v2`": {"name": "dcn_v2"},
            "`wukong`": {"name": "wukong"},
            "`rankmixer`": {"name": "rankmixer"},
        },
        epochs=3,
    ),
}


def run(name: str, world: World, encoder: dict[str, Any], seed: int, rows: int | None = None) -> dict[str, float]:
    """Train a model; its expected AUC, the oracle's, and CPU seconds."""
    options = dict(encoder)
    source = Simulator(scenario=name, seed=seed, **(world.source | ({"rows": rows} if rows else {})))
    features = dict(source.schema().features)
    length = options.pop("length", None)
    if length:
        features["history"] = {**features["history"], "length": length}
    data = DataModule(source, features=features, batch_size=world.batch_size, eval_batch_size=1024, seed=seed)
    data.prepare()
    seed_everything(seed, verbose=False)
    module = build_module(
        data.schema, encoder=options, architecture={"name": "shared_bottom"}, weighter={"name": "sum"},
        metrics={"click": ["expected_auc", "oracle_auc"]}, seed=seed,
        optimizer={"lr": world.lr, "table_lr": world.table_lr, "schedule": "linear"},
    )  # fmt: skip
    metrics, spent = train_and_test(module, data, world.epochs)
    return {
        "auc": float(metrics["test/click/expected_auc"]),
        "oracle": float(metrics["test/click/oracle_auc"]),
        "seconds": spent,
    }


def table(name: str, results: dict[tuple[str, str, int], dict[str, float]], seeds: int) -> str:
    """The results of a world in Markdown."""
    encoders = list(WORLDS[name].encoders)
    base = np.array([results[name, encoders[0], seed]["auc"] for seed in range(seeds)])
    lines = [f"| encoder | expected AUC | against {encoders[0]} | training, CPU s |", "|---|---|---|---|"]
    for encoder in encoders:
        runs = [results[name, encoder, seed] for seed in range(seeds)]
        difference = np.array([figures["auc"] for figures in runs]) - base
        span = "–" if encoder == encoders[0] else f"{difference.min():+.3f} to {difference.max():+.3f}"
        mean, spent = (np.mean([figures[part] for figures in runs]) for part in ("auc", "seconds"))
        lines.append(f"| {encoder} | {mean:.3f} | {span} | {spent:.0f} |")
    oracle = np.mean([results[name, encoders[0], seed]["oracle"] for seed in range(seeds)])
    return "\n".join([*lines, f"| oracle | {oracle:.3f} | | |"])


def main() -> None:
    """Run the missing trainings and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    out = arguments.out
    lines = begin(out)
    results = {(line["world"], line["encoder"], line["seed"]): line["figures"] for line in lines}
    for seed in range(arguments.seeds):
        for name in arguments.worlds:
            for encoder, options in WORLDS[name].encoders.items():
                if (name, encoder, seed) in results:
                    continue
                figures = results[name, encoder, seed] = run(name, WORLDS[name], options, seed)
                keep(out, world=name, encoder=encoder, seed=seed, figures=figures)
    for name in arguments.worlds:
        print(f"\n{name}\n\n{table(name, results, arguments.seeds)}", flush=True)


if __name__ == "__main__":
    main()
