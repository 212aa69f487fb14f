"""Quality and cost of every encoder, architecture and weighter on the same rows, one component changed at a time.

    python benchmarks/rankers.py OUT.jsonl [--parts encoder architecture weighter] [--rows 20000] [--seeds 2]

The model is ``embedding``, ``mmoe`` and ``sum`` with default options but for the component of the row; weighters that
use gradients are measured at both seams. Components that require an option, or that draw preferences, are left out.
Each seed is another world of the simulator's ads with intents; the encoder reads a history of the latest clicks. One
epoch, one thread. Results in OUT are not computed again. Prints a Markdown table per part, best expected AUC of click
first:

- expected AUC of click and conversion and RMSE of dwell on the test split, means over seeds;
- the smallest and the largest difference of click to the first model within a world;
- dense weights, and MFLOP per row of a whole training step, gradients of the weighter included, as torch counts them;
- training rows per second of CPU time.
"""

import argparse
import inspect
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import seed_everything
from seams import cases, gradient_weighters
from torch.utils.flop_counter import FlopCounterMode
from trials import begin, keep, train_and_test

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.plugins import registry

BASE = {"encoder": "embedding", "architecture": "mmoe", "weighter": "sum"}
METRICS = {"click": ["expected_auc"], "conversion": ["expected_auc"], "dwell": ["rmse"]}
HISTORY = {
    "kind": "history", "by": "user_id", "time": "timestamp", "of": "item_id", "where": "click == 1",
    "with": ["category"], "gap": True, "length": 32,
}  # fmt: skip


def components(part: str) -> dict[str, dict[str, Any]]:
    """Options of each component of a kind, by its name in the table; the one of the first model is first."""
    chosen: dict[str, dict[str, Any]] = {f"`{BASE[part]}`": {"name": BASE[part]}}
    gradients = gradient_weighters() if part == "weighter" else []
    for name in sorted(registry().names(part)):
        kind: Any = registry().resolve(part, name)
        options = inspect.signature(kind.__init__).parameters.values()
        required = any(option.kind is option.KEYWORD_ONLY and option.default is option.empty for option in options)
        if required or getattr(kind, "chooses_preferences", False):
            continue
        if name in gradients:
            places = [place for case, place in cases([name]) if case == name and "scope" not in place]
            chosen |= {
                f"`{name}`, {place}": {"name": name, "gradients_at": place.strip("`")}
                if place == "`shared`"
                else {"name": name}
                for place in places
            }
        else:
            chosen[f"`{name}`"] = {"name": name}
    return chosen


def build(data: DataModule, part: str, options: dict[str, Any], seed: int) -> Any:
    """Build a model with one component changed."""
    seed_everything(seed, verbose=False)
    parts: dict[str, Any] = {name: {"name": default} for name, default in BASE.items()} | {part: options}
    optimizer = {"lr": 2e-3, "table_lr": 0.1, "schedule": "linear"}
    heads = {"conversion": "esmm"}
    return build_module(data.schema, **parts, heads=heads, metrics=METRICS, optimizer=optimizer, seed=seed)


def run(data: DataModule, part: str, options: dict[str, Any], seed: int) -> dict[str, float]:
    """Train a model; its figures and its cost."""
    counted, module = build(data, part, options, seed), build(data, part, options, seed)
    batch = next(iter(data.train_dataloader()))
    with FlopCounterMode(display=False) as counter:
        counted.training_step(batch, 0).backward()
    network = module.network
    tables = {id(table) for table in network.encoder.table_parameters()}
    metrics, seconds = train_and_test(module, data, 1)
    return {
        **{task: float(metrics[f"test/{task}/{names[0]}"]) for task, names in METRICS.items()},
        "dense": sum(weight.numel() for weight in network.parameters() if id(weight) not in tables),
        "mflops": counter.get_total_flops() / len(batch) / 1e6,
        "rate": len(data.prepared.stores["train"]) / seconds,
    }


def table(part: str, results: dict[tuple[str, str, int], dict[str, float]], seeds: int) -> str:
    """The results of a part in Markdown."""
    names = list(components(part))
    runs = {name: [results[part, name, seed] for seed in range(seeds)] for name in names}
    mean = {name: {key: float(np.mean([own[key] for own in runs[name]])) for key in runs[name][0]} for name in names}
    heads = ["click", f"click, against {names[0]}", "conversion", "dwell", "dense weights", "MFLOP a row", "rows/CPU s"]
    lines = [f"| {part} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in sorted(names, key=lambda name: -mean[name]["click"]):
        own = mean[name]
        gaps = [a["click"] - b["click"] for a, b in zip(runs[name], runs[names[0]], strict=True)]
        span = "–" if name == names[0] else f"{min(gaps):+.3f} to {max(gaps):+.3f}"
        quality = f"{own['click']:.3f} | {span} | {own['conversion']:.3f} | {own['dwell']:.2f}"
        lines.append(f"| {name} | {quality} | {own['dense']:,.0f} | {own['mflops']:.3f} | {own['rate']:,.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the missing trainings and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", nargs="+", default=list(BASE), choices=list(BASE))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    out = arguments.out
    lines = begin(out)
    results = {
        (line["part"], line["name"], line["seed"]): line["figures"] for line in lines if line["rows"] == arguments.rows
    }
    for seed in range(arguments.seeds):
        source = Simulator(rows=arguments.rows, seed=seed, users=400, items=500, intent=2)
        features = {**source.schema().features, "history": HISTORY}
        data = DataModule(source, features=features, batch_size=512, seed=seed)
        data.prepare()
        for part in arguments.parts:
            for name, options in components(part).items():
                if (part, name, seed) not in results:
                    figures = results[part, name, seed] = run(data, part, options, seed)
                    keep(out, part=part, name=name, seed=seed, rows=arguments.rows, figures=figures)
    for part in arguments.parts:
        print(f"\n{table(part, results, arguments.seeds)}", flush=True)


if __name__ == "__main__":
    main()
