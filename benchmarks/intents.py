"""Gap of expected AUC to the oracle in a world with short-term intents, without and with a history.

    python benchmarks/intents.py OUT.jsonl [--scenario ads] [--seeds 3] [--into benchmarks/results/intents.md]

Each seed is another world of the scenario with ``intent=2``. A model is one trunk (``shared_bottom``) over an encoder,
trained by ``sum`` for one task alone: clicks (``ads``, ``news``), views (``ecommerce``) or likes (``social``). The
history has the latest of them with their categories and gaps. Results in OUT are not computed again. Prints a Markdown
table of the expected AUC on the last tenth of the log, and of the gap.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import into
import numpy as np
from lightning.pytorch import seed_everything
from trials import begin, keep, train_and_test

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator

SOURCE: dict[str, Any] = {"rows": 100_000, "users": 200, "items": 60, "intent": 2.0}
TASKS = {"ads": "click", "ecommerce": "view", "news": "click", "social": "like"}
"""Outcome that intents decide, by scenario."""
MODELS = {
    "`embedding`, no history": ("embedding", False),
    "`embedding`, history": ("embedding", True),
    "`din`, history": ("din", True),
}
"""Encoder, and whether there is a history, by the name in the table."""


def run(scenario: str, encoder: str, history: bool, seed: int) -> dict[str, float]:
    """Train a model; its expected AUC, the oracle's, and CPU seconds."""
    source = Simulator(scenario=scenario, seed=seed, **SOURCE)
    suggested, task = source.schema(), TASKS[scenario]
    features = {name: kind for name, kind in suggested.features.items() if name != "history"}
    if history:
        item = next(name for name in ("item_id", "article_id", "post_id") if name in features)
        features["latest"] = {
            "kind": "history", "by": "user_id", "time": "timestamp", "of": item, "where": f"{task} == 1",
            "with": ["category"], "gap": True, "length": 5,
        }  # fmt: skip
    split = {"by": "time", "column": "timestamp", "validation": 0.1, "test": 0.1}
    tasks = {task: suggested.tasks[task]}
    data = DataModule(source, features=features, tasks=tasks, split=split, batch_size=512, seed=seed)
    data.prepare()
    seed_everything(seed, verbose=False)
    module = build_module(
        data.schema, encoder={"name": encoder, "width": 8}, architecture={"name": "shared_bottom"},
        weighter={"name": "sum"}, metrics={task: ["expected_auc", "oracle_auc"]}, seed=seed,
        optimizer={"lr": 2e-3, "table_lr": 0.1, "schedule": "linear"},
    )  # fmt: skip
    metrics, spent = train_and_test(module, data, 2)
    oracle = float(metrics[f"test/{task}/oracle_auc"])
    return {"auc": float(metrics[f"test/{task}/expected_auc"]), "oracle": oracle, "seconds": spent}


def table(results: dict[tuple[str, int], dict[str, float]], seeds: int) -> str:
    """The results in Markdown."""
    lines = [
        "| model | expected AUC | oracle | gap | smallest and largest gap | training, CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        auc, oracle, spent = (
            np.array([results[model, seed][part] for seed in range(seeds)]) for part in ("auc", "oracle", "seconds")
        )
        gap = oracle - auc
        lines.append(
            f"| {model} | {auc.mean():.3f} | {oracle.mean():.3f} | {gap.mean():.3f} "
            f"| {gap.min():.3f} to {gap.max():.3f} | {spent.mean():.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the missing trainings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenario", choices=TASKS, default="ads")
    parser.add_argument("--seeds", type=int, default=3)
    into.add_option(parser, "benchmarks/results/intents.md")
    arguments = parser.parse_args()
    started = time.monotonic()
    out = arguments.out
    lines = begin(out)
    chosen = [line for line in lines if line.get("scenario", "ads") == arguments.scenario]
    results = {(line["model"], line["seed"]): line["figures"] for line in chosen}
    for seed in range(arguments.seeds):
        for model, options in MODELS.items():
            if (model, seed) in results:
                continue
            figures = results[model, seed] = run(arguments.scenario, *options, seed)
            keep(out, scenario=arguments.scenario, model=model, seed=seed, figures=figures)
    text = f"{into.stamp(started)}\n\n{table(results, arguments.seeds)}"
    into.show(text, f"intents {arguments.scenario}", arguments.into)


if __name__ == "__main__":
    main()
