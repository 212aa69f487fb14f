"""Permutation importance: a brute-force reference for every kind of feature, batches, seeds, and known weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.metrics import r2_score, roc_auc_score

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.store.order import generator
from mtl_lightning.errors import MtlError
from mtl_lightning.importance.measurement import Importance

ROWS = 240
FEATURES = {
    "user": "categorical",
    "age": "numeric",
    "tags": {"kind": "sequence", "length": 3},
    "image": {"kind": "vector", "size": 4},
    "item": "categorical",
    "before": {
        "kind": "history",
        "of": "item",
        "by": "user",
        "time": "time",
        "with": ["age"],
        "gap": True,
        "length": 5,
    },
}


def logged(rows: int = ROWS) -> dict[str, list]:
    random = np.random.default_rng(0)
    age = random.normal(size=rows)
    return {
        "user": [f"u{i}" for i in random.integers(0, 12, rows)],
        "item": [f"i{i}" for i in random.integers(0, 9, rows)],
        "age": age.tolist(),
        "tags": [[f"t{i}" for i in random.integers(0, 6, random.integers(0, 4))] for _ in range(rows)],
        "image": random.normal(size=(rows, 4)).tolist(),
        "time": np.arange(rows).tolist(),
        "click": (age + random.normal(size=rows) > 0).astype(int).tolist(),
        "dwell": (age * 3 + random.normal(size=rows)).tolist(),
        "weight": random.uniform(0.5, 2, rows).tolist(),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataModule:
    tasks = {
        "click": {"kind": "binary", "label": "click", "sample_weight": "weight"},
        "dwell": {"kind": "regression", "label": "dwell", "observed_when": "click == 1"},
    }
    return DataModule.from_frame(
        logged(), features=FEATURES, tasks=tasks, cache_dir=tmp_path_factory.mktemp("cache"),
        split={"by": "time", "column": "time", "validation": 0.4, "test": 0.1},
    )  # fmt: skip


@pytest.fixture(scope="module")
def module(data: DataModule) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_module(data.schema, encoder={"name": "embedding", "width": 4})


def reference(module: torch.nn.Module, data: DataModule, names: list[str], orders: list[torch.Tensor]) -> list[float]:
    """Loss of AUC and of R² with features from other rows, from a prediction of each row by itself."""
    store = data.prepared.stores["validation"]
    label, mask, weight = (store.parts[part].numpy() for part in ("labels", "mask", "weight"))

    def measure(order: torch.Tensor) -> np.ndarray:
        rows = []
        for i in range(len(store)):
            batch, other = store.batch(torch.tensor([i])), store.batch(order[i : i + 1])
            batch.dense = batch.dense.clone()
            for name in names:
                kind = data.schema.field(name).kind
                if kind == "categorical":
                    batch.ids[0, data.schema.id_columns[name]] = other.id(name)[0]
                elif kind == "numeric":
                    batch.dense[0, data.schema.dense_columns[name]] = other.number(name)[0]
                else:
                    for part in ("sequences", "vectors", "steps"):
                        if name in getattr(other, part):
                            getattr(batch, part)[name] = getattr(other, part)[name]
            with torch.no_grad():
                rows.append([float(value) for value in module(batch).values()])
        click, dwell = np.array(rows).T
        known = mask[:, 1]
        return np.array([
            roc_auc_score(label[:, 0], click, sample_weight=weight[:, 0]), r2_score(label[known, 1], dwell[known]),
        ])  # fmt: skip

    own = measure(torch.arange(len(store)))
    return np.mean([own - measure(order) for order in orders], axis=0).tolist()


@pytest.mark.parametrize("names", [["user"], ["age", "image"], ["tags"], ["before"], ["item", "age", "before"]])
def test_equals_a_brute_force_reference(names: list[str], module: torch.nn.Module, data: DataModule) -> None:
    store = data.prepared.stores["validation"]
    importance = Importance(module, store, repeats=2, count=2, seed=3)
    orders = [torch.randperm(len(store), generator=generator(3, i)) for i in range(2)]
    losses = importance.of(names)
    expected = reference(module, data, names, orders)
    assert [losses["click"].mean, losses["dwell"].mean] == pytest.approx(expected, abs=1e-5)
    assert losses["score"].mean == pytest.approx((losses["click"].mean + losses["dwell"].mean) / 2)
    assert abs(losses["click"].mean) > 1e-4


def test_batches_do_not_matter_and_the_seed_does(module: torch.nn.Module, data: DataModule) -> None:
    store = data.prepared.stores["validation"]

    def means(batch_size: int, seed: int) -> list[float]:
        losses = Importance(module, store, batch_size=batch_size, count=20, seed=seed).of(["age", "before"])
        return [number for ends in losses.values() for number in vars(ends).values()]

    assert means(7, 0) == pytest.approx(means(1000, 0), abs=1e-5)
    assert means(1000, 0) == means(1000, 0)
    assert means(1000, 0) != means(1000, 1)
    assert store.parts["dense"].equal(DataModule.prepare(data).stores["validation"].parts["dense"])


def test_another_metric_than_that_of_compare_has_its_own_intervals(data: DataModule) -> None:
    torch.manual_seed(0)
    metrics = {"click": ["log_loss", "auc"], "dwell": ["rmse"]}
    module = build_module(data.schema, encoder={"name": "embedding", "width": 4}, metrics=metrics)
    importance = Importance(module, data.prepared.stores["validation"], count=20)
    assert importance.names == {"click": "log_loss", "dwell": "rmse"}
    assert importance.value["score"] == pytest.approx(-sum(importance.value[task] for task in metrics) / 2)
    losses = importance.of(["age"])
    assert losses["score"].mean == pytest.approx((losses["click"].mean + losses["dwell"].mean) / 2)
    assert all(ends.low < ends.mean < ends.high for ends in losses.values())


def test_fast_metrics_equal_those_of_the_package(module: torch.nn.Module, data: DataModule) -> None:
    store = data.prepared.stores["validation"]
    fast, plain = (Importance(module, store, count=10) for _ in range(2))
    plain.names = {task: f"own/{name}" for task, name in plain.names.items()}
    plain.base = plain._values(plain._predict())
    np.testing.assert_allclose(fast.base, plain.base, atol=1e-3)  # a histogram's bins have ties


def test_known_weights_are_ranked_and_what_has_none_contains_zero(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    weights = {"strong": 2.0, "medium": 1.0, "weak": 0.4, "none": 0.0, "neither": 0.0}
    columns = {name: random.normal(size=4000) for name in weights}
    logit = sum(weight * columns[name] for name, weight in weights.items())
    columns["click"] = (random.uniform(size=4000) < 1 / (1 + np.exp(-logit))).astype(int)
    rows = {name: column.tolist() for name, column in columns.items()}
    data = DataModule.from_frame(
        rows, features=dict.fromkeys(weights, "numeric"), tasks={"click": "binary"}, cache_dir=tmp_path,
        batch_size=128, split={"by": "random", "validation": 0.4, "test": 0.1},
    )  # fmt: skip
    torch.manual_seed(0)
    module = build_module(data.schema, optimizer={"lr": 0.01})
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    Trainer(max_epochs=2, **quiet).fit(module, datamodule=data)
    importance = Importance(module, data.prepared.stores["validation"])
    assert importance.value["click"] > 0.85
    record = importance.record({name: (name,) for name in weights})
    losses = {item["name"]: item["importance"]["click"] for item in record["items"]}
    assert list(losses)[:3] == ["strong", "medium", "weak"]
    assert losses["strong"]["low"] > losses["medium"]["high"] > losses["medium"]["low"] > losses["weak"]["high"]
    assert losses["weak"]["low"] > 0
    assert all(losses[name]["low"] < 0 < losses[name]["high"] for name in ("none", "neither"))


def test_an_undefined_metric_is_none_and_comes_last(module: torch.nn.Module, data: DataModule) -> None:
    store = data.prepared.stores["validation"].take(slice(0, 20))
    store.parts["labels"], store.parts["mask"] = torch.zeros(20, 2), torch.zeros(20, 2, dtype=torch.bool)
    record = Importance(module, store, count=3).record({"age": ("age",)})
    assert record["tasks"]["click"] == {"metric": "auc", "value": None}
    assert record["items"][0]["importance"]["score"] == {"mean": None, "low": None, "high": None}


def test_a_task_must_not_be_named_as_the_score(tmp_path: Path) -> None:
    rows = {name: logged()[name] for name in ("user", "click")}
    tasks = {"score": {"kind": "binary", "label": "click"}}
    own = DataModule.from_frame(rows, features={"user": "categorical"}, tasks=tasks, cache_dir=tmp_path)
    module = build_module(own.schema)
    with pytest.raises(MtlError, match="a task is named 'score'"):
        Importance(module, own.prepared.stores["validation"])
