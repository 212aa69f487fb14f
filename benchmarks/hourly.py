"""Training on every hour's log next to a retrain every day, in a world whose items come and go.

Usage: ``python benchmarks/hourly.py [--rows 500000] [--items 3000] [--life 36] [--hours 12] [--worlds 2] [--ids]``.

A log of the simulator's ads, four days long, of which only rows of items that are on offer at the time remain: each
item is launched at a random time and stays for ``life`` hours. All models see the first three days. On the fourth day

- ``daily`` stays as it is: it was trained on all three days at midnight;
- ``hourly`` continues from it with ``init_from=`` on each hour's log, and predicts the next hour;
- the third does the same, where items get an id after 5 occurrences and lose it after 36 hours without one.

Prints a Markdown table: expected AUC of clicks (by the true probabilities), the mean over hours, also of rows whose
item was launched on the fourth day. Next to it are the number of items with an id at the end, and seconds per ``fit``.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import into
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import mtl_lightning
from mtl_lightning.cli.allocation import keep_freed_memory
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.fitting.fit import FitResult

HOUR, DAYS = 3_600, 4
COMMON: dict[str, Any] = {
    "split": {"by": "random", "column": None, "validation": 0.05, "test": 0.0},
    "features": {"history": None, "weekday": None},
    "trainer": {"accelerator": "cpu", "max_epochs": 1},
    "run": {"test": False, "relations": 0, "loggers": []},
}
STEP: dict[str, Any] = {
    **COMMON,
    "split": {**COMMON["split"], "validation": 0.0},
    "data": {"batch_size": 256},
    "optimizer": {"lr": 1e-4, "table_lr": 0.02, "schedule": "constant"},
}
ATTRIBUTES = ("user_segment", "user_city", "user_age", "user_activity", "advertiser_id", "campaign_id", "category")
ATTRIBUTES += ("format", "price", "bid")
LEAVE = {"kind": "categorical", "admit": 5, "expire": "36h", "time": "timestamp"}


def world(rows: int, items: int, life: float, seed: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """The log, the hour of each row, [N], and the hour in which its item was launched, [N] float64."""
    log = pa.table(Simulator(rows=rows, items=items, days=DAYS, seed=seed).rows().with_format("arrow")[:])
    times = log["timestamp"].to_numpy() / HOUR
    times -= times.min()
    names, codes = np.unique(log["item_id"].to_numpy(), return_inverse=True)
    launch = np.random.default_rng(seed).uniform(-life, 24 * DAYS, len(names))[codes]
    on_offer = (launch <= times) & (times < launch + life)
    return log.filter(pa.array(on_offer)), np.floor(times[on_offer]).astype(int), launch[on_offer]


def expected_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """AUC over all draws of the labels: the share of pairs in order, weighted by their probability."""
    order = np.argsort(scores)
    scores, truth = scores[order], truth[order]
    below = np.append(0.0, np.cumsum(1 - truth))
    first, after = np.searchsorted(scores, scores), np.searchsorted(scores, scores, side="right")
    return float((truth * (below[first] + below[after])).sum() / 2 / (truth.sum() * (1 - truth).sum()))


def evaluate(model: FitResult, log: pa.Table, new: np.ndarray) -> list[float]:
    """Expected AUC of clicks over all rows, and over rows of new items."""
    batch = model.data.prepared.transforms.encode(log)
    with torch.inference_mode():
        scores = model.module.network(batch)["click"].numpy()
    truth = log["oracle_click"].to_numpy()
    return [expected_auc(scores, truth), expected_auc(scores[new], truth[new])]


def compare(arguments: argparse.Namespace, seed: int, folder: Path) -> dict[str, list[float]]:
    """Measures of each way of training in one world."""
    log, hours, launch = world(arguments.rows, arguments.items, arguments.life, seed)
    start = 24 * (DAYS - 1)
    cache = {"cache_dir": str(folder / "cache")}

    def written(chosen: np.ndarray, name: str) -> dict[str, Any]:
        pq.write_table(log.filter(pa.array(chosen)), folder / name)
        return {"name": "table", "path": str(folder / name)}

    before = written(hours < start, "before.parquet")
    measures = {}
    model = None
    for name, features in {"daily": {}, "hourly": {}, "hourly, `admit` and `expire`": {"item_id": LEAVE}}.items():
        removed = dict.fromkeys(ATTRIBUTES if arguments.ids else ())
        settings = COMMON | {"features": {**COMMON["features"], **removed, **features}, "source": before, "data": cache}
        if name != "hourly":  # it continues from the daily model
            run = {**COMMON["run"], "dir": str(folder / name / "0")}
            epochs = {**COMMON["trainer"], "max_epochs": 3}
            model = mtl_lightning.fit("ads", quiet=True, **{**settings, "run": run, "trainer": epochs})
        assert model is not None
        values, seconds = [], []
        for hour in range(start, start + arguments.hours):
            now = hours == hour
            values.append(evaluate(model, log.filter(pa.array(now)), launch[now] >= start))
            if name != "daily":
                run = {**COMMON["run"], "dir": str(folder / name / str(hour)), "init_from": str(model.run.path)}
                step = {**STEP, "source": written(now, f"{hour}.parquet"), "data": {**STEP["data"], **cache}}
                began = time.monotonic()
                model = mtl_lightning.fit("ads", quiet=True, **{**step, "features": settings["features"], "run": run})
                seconds.append(time.monotonic() - began)
        ids = model.data.schema.field("item_id").size - 2
        measures[name] = [*np.nanmean(values, axis=0), ids, float(np.mean(seconds)) if seconds else np.nan]
    return measures


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser()
    for name, default in (("rows", 500_000), ("items", 3_000), ("life", 36), ("hours", 12), ("worlds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ids", action="store_true", help="users and items have ids, and no attributes")
    into.add_option(parser, "benchmarks/results/hourly.md")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    started = time.monotonic()
    measured = []
    for seed in range(1, arguments.worlds + 1):  # the steps were chosen in world 0
        with tempfile.TemporaryDirectory() as folder:
            measured.append(compare(arguments, seed, Path(folder)))
    lines = ["| training | AUC, next hour | AUC, items of the day | items with an id | seconds per hour |"]
    lines.append("|---|---|---|---|---|")
    for name in measured[0]:
        auc, new, ids, seconds = np.mean([world[name] for world in measured], axis=0)
        spread = np.ptp([world[name][0] - world["daily"][0] for world in measured])
        gain = auc - np.mean([world["daily"][0] for world in measured])
        shown = f"{auc:.4f}" + (f" ({gain:+.4f}, worlds differ by {spread:.4f})" if name != "daily" else "")
        took = "–" if np.isnan(seconds) else f"{seconds:.1f}"
        lines.append(f"| {name} | {shown} | {new:.4f} | {ids:,.0f} | {took} |")
    kind = "ids" if arguments.ids else "attributes"
    into.show("\n".join([*lines, "", into.stamp(started)]), f"hourly {kind}", arguments.into)


if __name__ == "__main__":
    main()
