"""Expected AUC of encoders that combine fields, on the same rows, next to ``embedding``.

Usage: ``python benchmarks/encoders.py OUT.jsonl [--rows 50000] [--epochs 1] [--seeds 2] [--into PAGE]``. Results in OUT
are not computed again.

Trains the model of the recipe ``ads`` (MMoE, ``famo``) on the simulator's ads with every encoder's default options.
Each seed is another world. Prints a Markdown table of the expected AUC of click and conversion and the RMSE of dwell on
the test split, as means over seeds. Next to each mean are the smallest and largest difference to ``embedding`` within a
world. The last column is the number of dense weights of the encoder.
"""

import argparse
import json
import logging
import tempfile
import time
import warnings
from pathlib import Path

import into
import numpy as np
from lightning.pytorch import Trainer, seed_everything

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator

ENCODERS = ("embedding", "autoint", "dcn_v2", "masknet", "wukong", "rankmixer")
METRICS = {"click": ["expected_auc"], "conversion": ["expected_auc"], "dwell": ["rmse"]}
FIGURES = {"click/expected_auc": 4, "conversion/expected_auc": 4, "dwell/rmse": 2}
"""Figures of the test split, with their decimal places."""


def run(data: DataModule, encoder: str, epochs: int, seed: int) -> tuple[list[float], int]:
    """Train a model; its figures, and the number of dense weights of its encoder."""
    seed_everything(seed, verbose=False)
    module = build_module(
        data.schema,
        encoder={"name": encoder},
        architecture={"name": "mmoe"},
        heads={"conversion": "esmm"},
        metrics=METRICS,
        weighter={"name": "famo"},
        optimizer={"lr": 2e-3, "table_lr": 0.1, "schedule": "linear"},
        seed=seed,
    )
    network = module.network.encoder
    tables = {id(table) for table in network.table_parameters()}
    dense = sum(weight.numel() for weight in network.parameters() if id(weight) not in tables)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, limit_val_batches=0, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
        metrics = trainer.test(module, datamodule=data, verbose=False)[0]
    return [float(metrics[f"test/{name}"]) for name in FIGURES], dense


def table(results: dict[tuple[str, int], tuple[list[float], int]], seeds: int) -> str:
    """The results of all encoders in Markdown."""
    names = [name.partition("/")[0] for name in FIGURES]
    columns = [column for name in names for column in (name, f"{name}: against `embedding`")]
    lines = [f"| encoder | {' | '.join(columns)} | dense weights |", "|---" * (len(columns) + 2) + "|"]
    base = np.array([results["embedding", seed][0] for seed in range(seeds)])
    for encoder in ENCODERS:
        values = np.array([results[encoder, seed][0] for seed in range(seeds)])
        difference, cells = values - base, []
        for i, places in enumerate(FIGURES.values()):
            low, high = difference[:, i].min(), difference[:, i].max()
            span = "–" if encoder == "embedding" else f"{low:+.{places}f} to {high:+.{places}f}"
            cells += [f"{values[:, i].mean():.{places}f}", span]
        lines.append(f"| `{encoder}` | {' | '.join(cells)} | {results[encoder, 0][1]:,} |")
    return "\n".join(lines)


def main() -> None:
    """Run the missing trainings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=2)
    into.add_option(parser, "benchmarks/results/encoders.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    started = time.monotonic()
    case = {name: getattr(arguments, name) for name in ("rows", "epochs")}
    out = arguments.out
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    results = {
        (line["encoder"], line["seed"]): (line["figures"], line["dense"]) for line in lines if line["case"] == case
    }
    for seed in range(arguments.seeds):
        missing = [encoder for encoder in ENCODERS if (encoder, seed) not in results]
        if not missing:
            continue
        data = DataModule(Simulator(rows=arguments.rows, seed=seed), batch_size=1024, seed=seed)
        data.prepare()
        for encoder in missing:
            figures, dense = results[encoder, seed] = run(data, encoder, arguments.epochs, seed)
            line = {"case": case, "encoder": encoder, "seed": seed, "figures": figures, "dense": dense}
            with out.open("a") as file:
                print(json.dumps(line), file=file)
    into.show(f"{into.stamp(started)}\n\n{table(results, arguments.seeds)}", "encoders", arguments.into)


if __name__ == "__main__":
    main()
