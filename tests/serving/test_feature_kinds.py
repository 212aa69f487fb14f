"""Expressions and other derived features from a log through ``fit`` and ``export`` to a request, with equal scores."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from commands import command

from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import validate
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.manifest import Manifest
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.serve.openapi import operation
from mtl_lightning.serve.request import read

pytestmark = pytest.mark.xdist_group("feature_kinds")

ROWS = 900
FEATURES = {
    "item": "categorical",
    "ratio": {"kind": "numeric", "expression": "price / (mean_price + 1)"},
    "hour": {"kind": "categorical", "expression": "hour(time)"},
    "long_title": {"kind": "categorical", "expression": "length(title) > 5 or title in ['war']"},
    "brand": {"kind": "categorical", "column": "items.brand"},
    "seen": {
        "kind": "sequence",
        "of": "item",
        "length": 4,
        "separator": "|",
        "with": ["shops", {"read_time": "log"}],
    },
    "interests": {"kind": "sequence", "length": 5, "separator": "|", "weight_separator": ":"},
    "topics": {"kind": "sequence", "length": 3, "weights": "topic_weights"},
    "common": {"kind": "overlap", "of": ["shops", "likes"], "as": "jaccard"},
    "style": {"kind": "semantic_id", "column": "image", "size": 3, "levels": 2, "clusters": 4},
    "cheaper": {"kind": "categorical", "expression": "`items.list_price` > price"},
}


def lists(rng: np.random.Generator) -> dict[str, list[object]]:
    """Columns with lists: of ids, with ids, numbers or weights next to them, and ids with weights in text."""
    sizes = rng.integers(0, 7, ROWS)
    ids = [rng.integers(0, 30, size).tolist() for size in sizes]
    weights = [rng.random(size).round(3).tolist() for size in sizes]
    return {
        "seen": ids,
        "shops": [rng.choice(["a", "b", "c"], size).tolist() for size in sizes],
        "read_time": [rng.exponential(9, size).tolist() for size in sizes],
        "interests": [
            "|".join(f"k{i}:{w}" for i, w in zip(*row, strict=True)) for row in zip(ids, weights, strict=True)
        ],
        "topics": [[i % 9 for i in row] for row in ids],
        "topic_weights": weights,
        "likes": [rng.choice(["a", "b", "c"], size).tolist() for size in sizes],
        "image": [None if size == 0 else rng.normal(size=3).tolist() for size in sizes],
    }


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a recipe next to it."""
    folder = tmp_path_factory.mktemp("feature_kinds")
    rng = np.random.default_rng(0)
    price = rng.exponential(10, ROWS).round(2)
    columns = {
        "item": rng.integers(0, 30, ROWS),
        "price": pa.array(price, mask=rng.random(ROWS) < 0.1),
        "mean_price": rng.integers(-1, 9, ROWS),
        "time": pa.array(rng.integers(0, 10**9, ROWS), pa.timestamp("s")),
        "title": rng.choice(["war", "drama", "long title", ""], ROWS),
        **lists(rng),
        "click": (price + rng.normal(0, 5, ROWS) > 8).astype(int),
    }
    pq.write_table(pa.table(columns), folder / "log.parquet")
    items = {"id": np.arange(25), "brand": rng.choice(["a", "b", "c"], 25), "list_price": rng.exponential(10, 25)}
    pq.write_table(pa.table(items), folder / "items.parquet")
    recipe = {
        "extends": "base",
        "source": {"name": "table", "path": str(folder / "log.parquet")},
        "split": {"by": "time", "column": "time"},
        "features": FEATURES,
        "tasks": {"click": {"kind": "binary", "label": "click"}},
        "data": {
            "batch_size": 128,
            "cache_dir": str(folder / "cache"),
            "lookup": {"items": {"path": str(folder / "items.parquet"), "key": "id", "on": "item"}},
        },
        "trainer": {"max_epochs": 1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert command("fit", f"recipe={folder / 'recipe.yaml'}", f"run.dir={folder / 'run'}") == 0
    assert command("export", f"run={folder / 'run'}", f"out={folder / 'export'}") == 0
    return folder


@pytest.fixture(scope="module")
def expected(log: Path) -> np.ndarray:
    """Predictions of the run's network for the test split, from prepared data."""
    opened = RunDirectory.open(log / "run")
    config = validate(yaml.safe_load(opened.config_file.read_text()))
    prepared = build_data(config).prepare()
    module = module_from_config(config, prepared.schema)
    load_weights(module, opened.weights())
    store = prepared.stores["test"]
    with torch.no_grad():
        scores = module.network.eval()(store.batch(slice(0, len(store))))["click"].numpy()
    assert scores.std() > 1e-4
    return np.asarray(scores)


def last_rows(log: Path, count: int) -> pa.Table:
    """The last rows by time, in the order of the log."""
    table = pq.read_table(log / "log.parquet")
    times = table["time"].cast(pa.int64()).to_numpy()
    return table.take(pa.array(np.flatnonzero(times >= np.sort(times)[len(times) - count])))


def test_requests_have_the_scores_of_training(log: Path, expected: np.ndarray) -> None:
    bundle = Bundle.open(log / "export")
    rows = json.loads(json.dumps(last_rows(log, len(expected)).to_pylist(), default=str))
    names = list(bundle.manifest.columns)
    candidates = [{name: row[name] for name in names} for row in rows]
    question = read(json.dumps({"candidates": candidates}).encode(), names, 1000)
    scored, _ = bundle.score(question.columns, question.rows)
    np.testing.assert_allclose(scored["click"], expected, atol=1e-5)
    for place in range(0, len(rows), 9):
        alone = read(json.dumps({"context": candidates[place], "candidates": [{}]}).encode(), names, 10)
        scored, _ = bundle.score(alone.columns, alone.rows)
        np.testing.assert_allclose(scored["click"][0], expected[place], atol=1e-5)


def test_predict_has_the_scores_of_training(log: Path, expected: np.ndarray, tmp_path: Path) -> None:
    rows = last_rows(log, len(expected)).drop_columns(["click"])
    pq.write_table(rows, tmp_path / "rows.parquet")
    items = (log / "items.parquet").rename(tmp_path / "items.parquet")  # neither a run nor an export needs it
    for model in ("run", "export"):
        out = tmp_path / f"{model}.parquet"
        assert command("predict", f"run={log / model}", f"data={tmp_path / 'rows.parquet'}", f"out={out}") == 0
        np.testing.assert_allclose(pq.read_table(out)["click"].to_numpy(), expected, atol=1e-5)
    items.rename(log / "items.parquet")


def test_the_service_describes_the_raw_columns(log: Path) -> None:
    assert set(Manifest.open(log / "export").columns) == {
        "item", "price", "mean_price", "time", "title",
        "seen", "shops", "read_time", "interests", "topics", "topic_weights", "likes", "image",
    }  # fmt: skip
    described = json.dumps(operation(Bundle.open(log / "export"), 10))
    assert '"mean_price"' in described
