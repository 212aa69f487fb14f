"""Comparison of SharedBottom, MMoE, PLE and AITM with torch-rechub, on the same encoded rows with the same sizes.

Usage, with an environment that holds torch-rechub 0.9.0::

    python -m venv PEERS
    PEERS/bin/pip install -c constraints.txt torch torch-rechub==0.9.0
    python benchmarks/rechub OUT --peers PEERS/bin/python [--sets ads,movielens] [--seconds 280]

Rows are prepared once by this package. Both sides have in common:

- ids, standardised numerics and sequences;
- embedding width, layers, experts, towers and batch size;
- early stopping by the mean AUC on validation, and the weights of the best epoch;
- learning rates, of which each side is compared with its best on validation (mean over 3 seeds).

The default rate is reported as well, and so are the recipe's own settings with this package's default sizes. Every run
is a line of JSON in OUT, and is not repeated. With ``--seconds``, no run starts after this time. AUCs of both sides are
computed here.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import ours
from numpy.typing import NDArray
from sizes import ARCHITECTURES, DEFAULT_RATE, RATES
from sklearn.metrics import roc_auc_score

HERE, SIDES, SEEDS = Path(__file__).parent, ("theirs", "ours"), 3
Key = tuple[str, str, str, float | None, int]


class Runs:
    """Results of the finished runs, and training of the missing ones."""

    def __init__(self, out: Path, peers: str, seconds: float) -> None:
        self.out, self.peers, self.end = out, peers, time.monotonic() + seconds
        out.mkdir(parents=True, exist_ok=True)
        self.log = out / "runs.jsonl"
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        self.records: dict[Key, dict[str, Any]] = {tuple(line["key"]): line for line in lines}

    def train(self, data: ours.DataModule, keys: list[Key]) -> None:
        """Train the missing ones among runs of one set and side."""
        keys = [key for key in keys if key not in self.records]
        if not keys:
            return
        if time.monotonic() > self.end:
            raise TimeoutError
        if keys[0][1] == "theirs":
            for key, outcome in zip(keys, self.child(keys), strict=True):
                self.store(data, key, *outcome)
        else:
            for key in keys:
                name, _, architecture, rate, seed = key
                self.store(data, key, *ours.train(data, name, architecture, rate, seed))

    def store(self, data: ours.DataModule, key: Key, parts: dict[str, Any], epochs: int) -> None:
        """Record the AUCs of a run."""
        stores = data.prepared.stores
        record = {"key": key, "epochs": epochs}
        record |= {split: aucs(stores[split].parts["labels"].numpy(), parts[split]) for split in parts}
        self.records[key] = record
        with self.log.open("a") as file:
            print(json.dumps(record), file=file)
        print(json.dumps(record), flush=True)

    def child(self, keys: list[Key]) -> list[tuple[dict[str, Any], int]]:
        """Train torch-rechub's models in their environment."""
        predictions = (self.out / "predictions.npz").absolute()
        specs = [
            {"set": name, "architecture": architecture, "rate": rate, "seed": seed}
            for name, _, architecture, rate, seed in keys
        ]
        rows = (self.out / f"{keys[0][0]}.npz").absolute()
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        ended = subprocess.run(
            [self.peers, "theirs.py", str(rows), str(predictions), json.dumps(specs)], cwd=HERE, capture_output=True,
            text=True, env={**environment, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if ended.returncode:
            raise SystemExit(f"theirs.py {specs} failed:\n{ended.stderr[-2000:]}")
        with np.load(predictions) as file:
            return [
                ({split: file[f"{i}/{split}"] for split in ("validation", "test")}, int(file[f"{i}/epochs"]))
                for i in range(len(keys))
            ]

    def best(self, name: str, side: str, architecture: str) -> float:
        """Learning rate with the best AUC on validation, as the mean over tasks and seeds."""

        def mean(rate: float) -> float:
            values = [self.records[name, side, architecture, rate, seed]["validation"] for seed in range(SEEDS)]
            return float(np.mean(values))

        return max(RATES, key=mean)


def aucs(labels: NDArray[np.floating], predictions: NDArray[np.floating]) -> list[float]:
    """AUC per task."""
    return [float(roc_auc_score(labels[:, task], predictions[:, task])) for task in range(labels.shape[1])]


def run(runs: Runs, name: str) -> None:
    """Train the runs of a set's table; those that are compared come first."""
    data = ours.data(name)
    rows = runs.out / f"{name}.npz"
    if not rows.exists():
        ours.export(data, rows)
    for architecture in ARCHITECTURES:
        for side in SIDES:
            runs.train(data, [(name, side, architecture, rate, seed) for seed in range(SEEDS) for rate in RATES])
    for architecture in ARCHITECTURES:
        runs.train(data, [(name, "ours", architecture, None, seed) for seed in range(SEEDS)])


def table(runs: Runs, name: str) -> None:
    """Print a set's table: mean ± sd over seeds on the test split, for rows with all seeds."""
    tasks = list(ours.TASKS[name])
    print(f"\n### {name}\n\n| architecture | side | learning rate | {' | '.join(tasks)} | mean AUC | epochs |")
    print("|---|---|---|" + "---|" * (len(tasks) + 2))
    verdicts = []
    for architecture in ARCHITECTURES:
        tuned = {}
        for side in SIDES:
            required = [(name, side, architecture, rate, seed) for rate in RATES for seed in range(SEEDS)]
            if any(key not in runs.records for key in required):
                continue
            best = runs.best(name, side, architecture)
            rates: list[float | None] = [*dict.fromkeys((DEFAULT_RATE, best)), None]
            for rate in rates:
                keys = [(name, side, architecture, rate, seed) for seed in range(SEEDS)]
                if not all(key in runs.records for key in keys):
                    continue
                test = np.array([runs.records[key]["test"] for key in keys])
                epochs = np.mean([runs.records[key]["epochs"] for key in keys])
                values = [*test.T, test.mean(axis=1)]
                cells = [f"{value.mean():.4f} ± {value.std(ddof=1):.4f}" for value in values]
                shown = "recipe" if rate is None else f"{rate:g}" + (" (default)" if rate == DEFAULT_RATE else "")
                shown += ", tuned" if rate == best else ""
                print(f"| {architecture} | {side} | {shown} | {' | '.join(cells)} | {epochs:.1f} |")
                if rate == best:
                    tuned[side] = test.mean(axis=1)
        if len(tuned) == len(SIDES):
            gap, sd = tuned["ours"].mean() - tuned["theirs"].mean(), np.std(tuned["theirs"], ddof=1)
            verdicts.append(f"{architecture} {gap:+.4f} (their sd {sd:.4f}; {'holds' if gap >= -sd else 'fails'})")
    print("\nOurs − theirs in mean AUC, both tuned: " + ", ".join(verdicts) + ".")


def main() -> None:
    """Train the missing runs and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--peers", required=True, help="Python of an environment with torch-rechub")
    parser.add_argument("--sets", default=",".join(ours.TASKS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    runs = Runs(arguments.out, arguments.peers, arguments.seconds)
    sets = arguments.sets.split(",")
    complete = True
    for name in sets:
        try:
            run(runs, name)
        except TimeoutError:
            complete = False
        table(runs, name)
    if not complete:
        sys.exit("stopped; the same command resumes")


if __name__ == "__main__":
    main()
