"""Effects of a randomised incentive on real rows: did a person in Malawi fetch the result of a test?

The rows are Thornton's (2008), in the package causaldata (``pip install --no-deps causaldata``): 2,834 people with a
known incentive and outcome. Vouchers were drawn by lot. Each fifth of the people is predicted by models of the others.

Usage: ``python benchmarks/incentives.py [--epochs 20] [--seeds 3]``. Prints a Markdown table of the means over seeds.
An interval is 95% over people, from resamples that all learners share.
"""

import argparse
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from heads import LEARNERS, fitted, test_columns
from numpy.typing import NDArray

from mtl_lightning.cli.allocation import keep_freed_memory
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.table import Table
from mtl_lightning.metrics.uplift.curves import QiniCoefficient, Ranking, area, uplift_gain

FOLDS, RESAMPLES = 5, 500
FEATURES = {
    "distance": {"kind": "numeric", "missing": "zero"},
    "age": {"kind": "numeric", "missing": "zero"},
    "hiv": {"kind": "categorical"},
}


def people() -> pd.DataFrame:
    """Features, treatment and outcome, one row per person."""
    package = importlib.util.find_spec("causaldata")  # the package itself would import statsmodels
    if package is None or not package.submodule_search_locations:
        raise SystemExit("causaldata is not installed: pip install --no-deps causaldata")
    frame = pd.read_stata(Path(package.submodule_search_locations[0]) / "thornton_hiv" / "thornton_hiv.dta")
    frame = frame.dropna(subset=["got", "any"]).reset_index(drop=True)
    frame = frame.rename(columns={"distvct": "distance", "hiv2004": "hiv", "any": "treatment"})
    frame = frame[["distance", "age", "hiv", "treatment", "got"]].astype(np.float64)
    return frame.assign(hiv=frame["hiv"].astype(int).astype(str), person=np.arange(len(frame), dtype=np.float64))


def predicted(frame: pd.DataFrame, learner: str, epochs: int, seed: int) -> dict[str, NDArray[Any]]:
    """Effects on people that the models have not seen, and rates without the treatment in mind."""
    fold = np.random.default_rng(seed).permutation(len(frame)) % FOLDS
    values = {"effect": np.empty(len(frame)), "got": np.empty(len(frame))}
    tasks = {"effect": {"kind": "uplift", "label": "got"}, "got": {"kind": "binary", "label": "got"}}
    for number in range(FOLDS):
        ordered = pd.concat([frame[fold != number], frame[fold == number]])
        ordered = ordered.assign(turn=np.arange(len(frame), dtype=np.int64))
        share = float((fold == number).sum() / len(frame))
        with tempfile.TemporaryDirectory() as folder:
            ordered.to_parquet(f"{folder}/people.parquet")
            split = {"by": "time", "column": "turn", "validation": 0.0, "test": share}
            data = DataModule(
                Table(path=f"{folder}/people.parquet", time="turn"), features=FEATURES, tasks=tasks, split=split,
                raw=["treatment", "person"], batch_size=128, seed=seed, cache_dir=folder,
            )  # fmt: skip
            data.prepare()
            module = fitted(data, {"effect": {"name": learner}}, epochs, seed, 0.02, width=4)
            for task, value in values.items():
                columns = test_columns(module, data, task)
                value[columns["person"].astype(int)] = columns["prediction"]
    return values


def measures(frame: pd.DataFrame, effect: NDArray[Any], weights: torch.Tensor) -> NDArray[Any]:
    """Mean predicted effect, Qini and AUUC less chance's, for each row of people's weights."""
    label, treatment = (torch.tensor(frame[name].to_numpy()) for name in ("got", "treatment"))
    score = torch.tensor(effect)
    ranking, qini = Ranking(score, label, treatment), QiniCoefficient(score, label, treatment)
    results = []
    for weight in weights:
        counts = ranking.counts(weight)
        gain = uplift_gain(counts)
        above = area(counts, gain) / weight.sum().square() - gain[-1] / weight.sum() / 2
        results.append([float((score * weight).sum() / weight.sum()), float(qini(weight)), float(above)])
    return np.array(results)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(1)
    frame = people()
    drawn = np.random.default_rng(0).poisson(1.0, (RESAMPLES, len(frame))).astype(np.float64)
    weights = torch.from_numpy(np.vstack([np.ones(len(frame)), drawn]))
    rows: dict[str, list[NDArray[Any]]] = {}
    for seed in range(arguments.seeds):
        for learner in LEARNERS:
            values = predicted(frame, learner, arguments.epochs, seed)
            rows.setdefault(f"`{learner}`", []).append(measures(frame, values["effect"], weights))
        rows.setdefault("rate of results fetched", []).append(measures(frame, values["got"], weights))
    arms = frame.groupby("treatment")["got"].agg(["mean", "var", "size"])
    error = 1.96 * float(np.sqrt((arms["var"] / arms["size"]).sum()))
    print(f"{len(frame)} people, average effect {arms['mean'].diff().iloc[-1]:.3f} ± {error:.3f}\n")
    print("| head | mean effect | Qini | AUUC above chance |\n|---|---|---|---|")
    for name, parts in rows.items():
        mean = np.mean(parts, 0)
        low, high = np.percentile(mean[1:], [2.5, 97.5], 0)
        cells = [f"{m:.4f} [{a:.4f}, {b:.4f}]" for m, a, b in zip(mean[0], low, high, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
