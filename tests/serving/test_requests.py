"""Requests from a log through ``fit`` and ``export`` to a service: the user's part once, with scores of training."""

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
from mtl_lightning.predictions.predictor import Predictor
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.serve.request import read

pytestmark = pytest.mark.xdist_group("requests")

USER = ("user", "time", "segment", "tags")
ITEM = ("item", "price")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of requests, a run of a transformer over its histories, and its exports."""
    folder = tmp_path_factory.mktemp("requests")
    rng = np.random.default_rng(0)
    request = np.repeat(np.arange(300), rng.integers(1, 9, 300))
    rows = len(request)
    log = {
        "user": pa.array([f"u{r % 30}" for r in request]),
        "time": request * 7,
        "segment": request % 4,
        "tags": pa.array([[f"t{(r + i) % 6}" for i in range(r % 4)] for r in request]),
        "item": rng.integers(0, 40, rows),
        "price": rng.random(rows),
        "click": rng.integers(0, 2, rows),
    }
    pq.write_table(pa.table(log), folder / "log.parquet")
    history = {"kind": "history", "by": "user", "time": "time", "of": "item", "where": "click == 1", "gap": True}
    recipe = {
        "extends": "base",
        "source": {"name": "table", "path": str(folder / "log.parquet")},
        "split": {"by": "time", "column": "time"},
        "features": {
            "user": {"kind": "categorical"},
            "segment": {"kind": "categorical"},
            "item": {"kind": "categorical"},
            "price": {"kind": "numeric"},
            "tags": {"kind": "sequence", "length": 3},
            "watched": {**history, "length": 6},
        },
        "tasks": {"click": {"kind": "binary", "label": "click"}},
        "encoder": {"name": "transformer", "late_target": True, "width": 4},
        "data": {"batch_size": 64, "request": ["user", "time"], "cache_dir": str(folder / "cache")},
        "trainer": {"max_epochs": 1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert command("fit", f"recipe={folder / 'recipe.yaml'}", f"run.dir={folder / 'run'}") == 0
    assert command("export", f"run={folder / 'run'}", f"out={folder / 'export'}", "histories=true") == 0
    return folder


def test_an_export_shares_what_is_constant(folder: Path) -> None:
    names = [item["name"] for item in Manifest.open(folder / "export").inputs]
    assert "request" in names
    assert {"sequence/tags", "history/watched/ids", "history/watched/gap"} <= set(names)


def test_a_request_has_the_scores_of_training(folder: Path) -> None:
    opened = RunDirectory.open(folder / "run")
    config = validate(yaml.safe_load(opened.config_file.read_text()))
    prepared = build_data(config).prepare()
    assert set(prepared.transforms.per_request or ()) == {"user", "segment", "tags", "watched"}
    module = module_from_config(config, prepared.schema)
    load_weights(module, opened.weights())
    store = prepared.stores["test"]
    with torch.no_grad():
        network, batch = module.network.eval(), store.batch(slice(None))
        expected = network(batch)["click"].numpy()
        np.testing.assert_allclose(network(batch.expand())["click"].numpy(), expected, atol=1e-6)
    log = pq.read_table(folder / "log.parquet")
    test = log.slice(len(log) - len(store)).to_pylist()
    bundle = Bundle.open(folder / "export")
    times = sorted({row["time"] for row in test})
    assert len(times) > 10
    everything = log.to_pylist()
    for time in times[:10]:
        places = [place for place, row in enumerate(test) if row["time"] == time]
        user = {name: test[places[0]][name] for name in USER}
        user["watched"] = [
            {"time": row["time"], "item": row["item"], "click": row["click"]}
            for row in everything
            if row["user"] == user["user"] and row["time"] < time
        ]
        items = [{name: test[place][name] for name in ITEM} for place in places]
        body = json.dumps({"context": user, "candidates": items}).encode()
        question = read(body, list(bundle.manifest.columns), 100, bundle.transforms.optional_columns)
        parts = bundle.encoder.encode(question.columns, question.rows)
        assert parts["history/watched/ids"].shape[0] == parts["sequence/tags"].shape[0] == 1
        assert parts["request"].tolist() == [0] * len(items)
        scores, _ = bundle.score(question.columns, question.rows)
        np.testing.assert_allclose(scores["click"], expected[places], atol=1e-5)


def test_rows_of_several_requests_are_told_apart(folder: Path) -> None:
    bundle = Bundle.open(folder / "export")
    late = 10_000
    users, items = ["u1", "u1", "u2", "u1"], [3, 5, 5, 3]
    columns = {"user": users, "item": items, "time": [late], "segment": [1, 1, 2, 1], "price": [0.5], "tags": [["t1"]]}
    parts = bundle.encoder.encode(columns, 4)
    assert parts["request"].tolist() == [0, 0, 1, 2]
    assert len(parts["history/watched/length"]) == 3
    scores = bundle.predict(columns, 4)["click"]
    for place in range(4):
        row = {name: values[place : place + 1] if len(values) > 1 else values for name, values in columns.items()}
        np.testing.assert_allclose(bundle.predict(row, 1)["click"], scores[place : place + 1], atol=1e-6)
    assert scores[0] == pytest.approx(scores[3], abs=1e-6)
    assert scores[1] != pytest.approx(scores[2], abs=1e-6)


def test_predictions_of_a_table_are_those_of_the_run(folder: Path) -> None:
    table = pq.read_table(folder / "log.parquet").slice(0, 50).drop_columns(["click"])
    columns = {name: table[name].to_pylist() for name in table.column_names}
    scores = Bundle.open(folder / "export").predict(columns, len(table))["click"]
    predictor = Predictor.of_export(folder / "export")
    np.testing.assert_allclose(predictor.score(predictor.transforms.encode(table))["click"], scores, atol=1e-6)


def test_an_export_for_triton_has_one_number_of_rows(folder: Path) -> None:
    assert (
        command("export", f"run={folder / 'run'}", f"out={folder / 'triton'}", "layout=triton", "histories=true") == 0
    )
    bundle = Bundle.open(folder / "triton" / "1")
    assert "request" not in bundle.inputs
    columns = {"user": ["u1"], "item": [3, 5], "time": [9000], "segment": [1], "price": [0.5], "tags": [["t1"]]}
    scores = Bundle.open(folder / "export").predict(columns, 2)["click"]
    np.testing.assert_allclose(bundle.predict(columns, 2)["click"], scores, atol=1e-6)
