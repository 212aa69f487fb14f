"""Heads against the truth of simulated worlds: quantiles of durations, late conversions, effects of a treatment,
students of a larger model.

Usage: ``python benchmarks/heads.py STUDY [--rows 100000] [--worlds 3]``; ``--help`` lists the studies.

Trains shared-bottom networks on simulated logs, the compared heads on the same rows, and prints Markdown tables
over test rows as means over worlds, with twice the standard error.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from numpy.typing import NDArray
from scipy import stats

from mtl_lightning.build import build_module
from mtl_lightning.cli.allocation import keep_freed_memory
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.simulator.ads import DWELL_SHAPE
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.data.sources.table import Table
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.metrics.uplift.curves import QiniCoefficient
from mtl_lightning.training.module import MultiTaskModule

Columns = dict[str, NDArray[Any]]
Values = dict[str, dict[str, float]]
"""Values by method and column of the table."""


def fitted(
    data: DataModule,
    heads: Mapping[str, Any],
    epochs: int,
    seed: int,
    rate: float,
    *,
    losses: Mapping[str, Any] | None = None,
    width: int = 8,
) -> MultiTaskModule:
    """A trained module."""
    seed_everything(seed, verbose=False)
    module = build_module(
        data.schema,
        encoder={"name": "embedding", "width": width},
        architecture={"name": "shared_bottom", "hidden": [8 * width, 4 * width]},
        heads=heads,
        losses=losses,
        optimizer={"lr": 2e-3, "table_lr": rate, "schedule": "linear"},
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0, limit_val_batches=0,
            use_distributed_sampler=False,
        ).fit(module, datamodule=data)  # fmt: skip
    return module.eval()


def test_columns(module: MultiTaskModule, data: DataModule, task: str) -> Columns:
    """Predictions, details, labels and raw columns of the test rows whose label is known."""
    parts: list[dict[str, torch.Tensor]] = []
    with torch.inference_mode():
        for batch in Loader(data.prepared.stores["test"], 4096):
            outputs, _ = module.network.outputs(batch)
            predictions, targets = module.network.measured(outputs, batch)
            target = targets[task]
            columns = {"prediction": predictions[task], "label": target.label[:, 0], **target.raw, **target.details}
            parts.append({name: column[target.mask] for name, column in columns.items()})
    return {name: torch.cat([part[name] for part in parts]).double().numpy() for name in parts[0]}


def crps(label: NDArray[Any], quantiles: NDArray[Any], levels: NDArray[Any]) -> float:
    """Twice the mean pinball loss."""
    distance = label[:, None] - quantiles
    return float(2 * np.maximum(levels * distance, (levels - 1) * distance).mean())


def distribution(rows: int, seed: int) -> Values:
    """Seconds on the page, which are Gamma distributed around a mean that depends on user and item."""
    tasks = {"dwell": {"kind": "regression", "label": "dwell", "observed_when": "click == 1", "oracle": "oracle_dwell"}}
    data = DataModule(Simulator(rows=rows, seed=seed), tasks=tasks, batch_size=1024, seed=seed)
    data.prepare()
    values: Values = {}
    heads = {
        "`distribution`": {"name": "distribution"},
        "`distribution`, `log1p`": {"name": "distribution", "transform": "log1p"},
        "`regression`, normal with the test rows' deviation": {"name": "regression"},
    }
    truth: Columns = {}
    for name, head in heads.items():
        columns = test_columns(fitted(data, {"dwell": head}, 3, seed, 0.02), data, "dwell")
        levels = (np.arange(20) + 0.5) / 20
        if "quantiles" not in columns:
            deviation = (columns["label"] - columns["prediction"]).std()
            columns["quantiles"] = columns["prediction"][:, None] + deviation * stats.norm.ppf(levels)
        values[name] = shares(columns, columns["quantiles"], levels)
        truth = columns
    exact = stats.gamma.ppf(levels, DWELL_SHAPE, scale=truth["oracle_dwell"][:, None] / DWELL_SHAPE)
    values["the truth"] = shares(truth, exact, levels)
    return values


def shares(columns: Columns, quantiles: NDArray[Any], levels: NDArray[Any]) -> dict[str, float]:
    """Score, and shares of labels below single quantiles and inside intervals."""
    label = columns["label"]
    below = {level: float((label <= at(quantiles, levels, level)).mean()) for level in (0.1, 0.5, 0.9)}
    result = {"CRPS": crps(label, quantiles, levels)}
    result |= {f"below the {level:.0%} quantile": share for level, share in below.items()}
    return result | {"inside 80%": below[0.9] - below[0.1]}


def at(quantiles: NDArray[Any], levels: NDArray[Any], level: float) -> NDArray[Any]:
    """Quantiles at a level, linear between the given ones."""
    place = level * len(levels) - 0.5
    low = int(place)
    return quantiles[:, low] + (place - low) * (quantiles[:, low + 1] - quantiles[:, low])


def delayed_feedback(rows: int, seed: int) -> Values:
    """Conversions after clicks in a log that ends before the late ones."""
    tasks = {
        "conversion": {"kind": "binary", "label": "conversion", "observed_when": "click == 1", "oracle": "oracle_cvr"}
    }
    values: Values = {}
    late = {"delay": "conversion_delay", "elapsed": "elapsed"}
    windows = {"name": "delay_windows", "windows": [0.25, 1.0, 3.0, 6.0]} | late
    waits = {"conversion": {"name": "esdfm", "wait": 0.25, "mature": 5.0}}
    for name, head, losses, delayed in (
        ("`binary`", {"name": "binary"}, {}, True),
        ("`delayed_feedback`", {"name": "delayed_feedback"} | late, {}, True),
        ("`delay_windows`", windows, {}, True),
        ("`esdfm`", {"name": "esdfm"} | late, waits, True),
        ("`binary`, all conversions known", {"name": "binary"}, {}, False),
    ):
        source = Simulator(rows=rows, days=7, delayed=delayed, seed=seed)
        raw = ["conversion_delay", "elapsed", "oracle_cvr"]
        data = DataModule(source, tasks=tasks, raw=raw, batch_size=1024, seed=seed)
        data.prepare()
        module = fitted(data, {"conversion": head}, 3, seed, 0.02, losses=losses)
        columns = test_columns(module, data, "conversion")
        p, truth = columns["prediction"], columns["oracle_cvr"]
        excess = against_truth(p, truth)["excess log-loss"]
        ranked = {"AUC": expected_auc(p, truth), "AUC of the truth": expected_auc(truth, truth)}
        values[name] = {"mean / true mean": p.mean() / truth.mean(), "excess log-loss": excess, **ranked}
    return values


def expected_auc(score: NDArray[Any], truth: NDArray[Any]) -> float:
    """AUC over labels drawn from the true probabilities, as a weighted mean."""
    order = np.argsort(score)
    positive, negative = truth[order], 1 - truth[order]
    return float((positive * (negative.cumsum() - negative / 2)).sum() / (positive.sum() * negative.sum()))


LEARNERS = ("s_learner", "t_learner", "x_learner", "tarnet", "dragonnet")


def uplift(rows: int, seed: int, selection: float = 0.0) -> Values:
    """Effects of coupons on purchases, and rates of purchases as if they were effects."""
    source = Simulator(scenario="coupons", rows=rows, selection=selection, seed=seed)
    oracle = "oracle_effect"
    tasks = {
        "effect": {"kind": "uplift", "label": "purchase", "oracle": oracle},
        "purchase": {"kind": "binary", "label": "purchase"},
    }
    raw = ["treatment", oracle]
    data = DataModule(source, tasks=tasks, raw=raw, batch_size=1024, seed=seed)
    data.prepare()
    values: Values = {}
    for name in LEARNERS:
        module = fitted(data, {"effect": {"name": name}}, 3, seed, 0.02)
        columns = test_columns(module, data, "effect")
        values[f"`{name}`"] = effects(columns, columns["prediction"])
        rate = test_columns(module, data, "purchase")["prediction"]
    return values | {"rate of purchases": effects(columns, rate), "the truth": effects(columns, columns[oracle])}


def effects(columns: Columns, predicted: NDArray[Any]) -> dict[str, float]:
    """Correlation with the true effects, error, mean and Qini coefficient."""
    truth = columns["oracle_effect"]
    rows = (torch.from_numpy(part) for part in (predicted, columns["label"], columns["treatment"]))
    return {
        "correlation": float(np.corrcoef(predicted, truth)[0, 1]),
        "PEHE": float(np.sqrt(((predicted - truth) ** 2).mean())),
        "mean effect − true mean": float(predicted.mean() - truth.mean()),
        "Qini": float(QiniCoefficient(*rows)(torch.ones(len(truth), dtype=torch.float64))),
    }


def distilled(rows: int, seed: int) -> Values:
    """Clicks of the last rows of a log, by small students with and without a teacher that learned from the rows before.

    The teacher learns from the first three quarters, the students from two thirds of the rest, in order of time.
    """
    source = Simulator(rows=rows, seed=seed)
    frame = source.rows().to_pandas()
    frame["row"] = np.arange(len(frame), dtype=np.float64)
    features = source.schema().features
    tasks = {"click": {"kind": "binary", "label": "click", "oracle": "oracle_click"}}
    values: Values = {}
    with tempfile.TemporaryDirectory() as folder:

        def data_of(part: Any, test: float, *raw: str) -> DataModule:
            path = f"{folder}/{len(part)}.parquet"
            part.to_parquet(path)
            split = {"by": "time", "column": "timestamp", "validation": 0.0, "test": test}
            data = DataModule(
                Table(path=path, time="timestamp", group="user_id"), features=features, tasks=tasks, split=split,
                raw=["row", "oracle_click", *raw], group="user_id", batch_size=1024, seed=seed, cache_dir=folder,
            )  # fmt: skip
            data.prepare()
            return data

        data = data_of(frame, 0.25)
        taught = test_columns(fitted(data, {}, 2, seed, 0.02), data, "click")
        late = frame.iloc[taught["row"].astype(int)].assign(teacher=taught["prediction"])
        data = data_of(late, 1 / 3, "teacher")
        for name, loss in (
            ("`bce`", "bce"),
            ("`distilled`, `soft: 0.5`", "distilled"),
            ("`distilled`, `soft: 0.9`", {"name": "distilled", "soft": 0.9}),
            ("`distilled`, `soft: 0.9`, `temperature: 2`", {"name": "distilled", "soft": 0.9, "temperature": 2.0}),
            ("`distilled`, `soft: 0.9`, `ranking: 0.5`", {"name": "distilled", "soft": 0.9, "ranking": 0.5}),
        ):
            student = fitted(data, {}, 4, seed, 0.02, losses={"click": loss}, width=4)
            columns = test_columns(student, data, "click")
            values[name] = against_truth(columns["prediction"], columns["oracle_click"])
        return values | {"the teacher": against_truth(columns["teacher"], columns["oracle_click"])}


def against_truth(prediction: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Correlation of log-odds with the true ones, and log-loss above the truth's."""
    p = np.clip(prediction, 1e-7, 1 - 1e-7)
    loss = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
    entropy = -(truth * np.log(truth) + (1 - truth) * np.log(1 - truth)).mean()
    correlation = np.corrcoef(np.log(p / (1 - p)), np.log(truth / (1 - truth)))[0, 1]
    return {"correlation": float(correlation), "excess log-loss": loss - entropy}


STUDIES: dict[str, Callable[[int, int], Values]] = {
    "distribution": distribution,
    "delayed_feedback": delayed_feedback,
    "uplift": uplift,
    "distilled": distilled,
    "confounded": partial(uplift, selection=1.0),
}


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--worlds", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(1)
    worlds = [STUDIES[arguments.study](arguments.rows, seed) for seed in range(arguments.worlds)]
    columns = list(next(iter(worlds[0].values())))
    print(f"| head | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for method in worlds[0]:
        cells = []
        for column in columns:
            sample = np.array([world[method][column] for world in worlds])
            spread = 2 * sample.std(ddof=1) / np.sqrt(len(sample)) if len(sample) > 1 else np.nan
            cells.append(f"{sample.mean():.4f} ± {spread:.4f}")
        print(f"| {method} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
