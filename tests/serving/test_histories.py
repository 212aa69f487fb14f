"""Histories from a raw log through ``fit`` and ``export`` to a request, with the scores of training."""

import json
import shutil
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
from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.errors import DataError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.graph import inputs_of
from mtl_lightning.export.manifest import Manifest
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.serve.open_inference import infer
from mtl_lightning.serve.openapi import operation
from mtl_lightning.serve.request import RequestError, read

pytestmark = pytest.mark.xdist_group("histories")

HISTORIES = {
    "watched": {
        "kind": "history", "by": "user_id", "time": "time_ms", "of": "video_id", "where": "is_click == 1",
        "with": ["author_id", "tab", {"play_time_ms": "log"}], "gap": True, "length": 6, "delay": 5,
    },
    "seen": {"kind": "history", "by": "user_id", "time": "time_ms", "of": "video_id", "length": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of the form of KuaiRand, its recipe and where its run is."""
    folder = tmp_path_factory.mktemp("histories")
    rng = np.random.default_rng(0)
    rows = 2500
    clicks = rng.integers(0, 2, rows)
    log = {
        "user_id": pa.array([f"u{i}" for i in rng.integers(0, 40, rows)]),
        "video_id": pa.array(rng.integers(0, 60, rows), mask=rng.random(rows) < 0.02),
        "author_id": rng.integers(0, 15, rows),
        "tab": pa.array([f"t{i}" for i in rng.integers(0, 4, rows)]),
        "time_ms": rng.integers(0, 4000, rows),
        "play_time_ms": pa.array(rng.exponential(9000, rows), mask=rng.random(rows) < 0.1),
        "is_click": clicks,
        "long_view": clicks * rng.integers(0, 2, rows),
    }
    pq.write_table(pa.table(log), folder / "log.parquet")
    recipe = {
        "extends": "base",
        "source": {"name": "table", "path": str(folder / "log.parquet"), "after_event": ["play_time_ms"]},
        "split": {"by": "time", "column": "time_ms"},
        "features": {"video_id": {"kind": "categorical"}, "author_id": {"kind": "categorical"}, **HISTORIES},
        "tasks": {"click": {"kind": "binary", "label": "is_click"}, "long": {"kind": "binary", "label": "long_view"}},
        "data": {"batch_size": 256, "group": "user_id", "cache_dir": str(folder / "cache")},
        "trainer": {"max_epochs": 1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module", params=["embedding", "din", "transformer"])
def run(folder: Path, request: pytest.FixtureRequest) -> Path:
    """A run per encoder, and its export next to it."""
    out = folder / request.param
    pairs = [f"recipe={folder / 'recipe.yaml'}", f"encoder={request.param}", f"run.dir={out}"]
    assert command("fit", *pairs) == 0
    assert command("export", f"run={out}", f"out={folder / (request.param + '-export')}") == 0
    return out


def score(run: Path, resumed: RunDirectory | None = None) -> tuple[list[int], dict[str, np.ndarray]]:
    """Rows of the test split in the log, and what the run's network predicts of them from prepared data."""
    opened = RunDirectory.open(run)
    config = validate(yaml.safe_load(opened.config_file.read_text()))
    prepared = build_data(config, resumed).prepare()
    module = module_from_config(config, prepared.schema)
    load_weights(module, opened.weights())
    store = prepared.stores["test"]
    with torch.no_grad():
        predictions = module.network.eval()(store.batch(slice(0, len(store))))
    times = pq.read_table(run.parent / "log.parquet")["time_ms"].to_numpy()
    rows = np.flatnonzero(times >= np.sort(times)[len(times) - len(store)])
    return rows.tolist(), {name: values.numpy() for name, values in predictions.items()}


def request_of(log: list[dict[str, object]], row: int) -> dict[str, object]:
    """A request that brings all rows of the user in the log's order, later ones and the row itself as well."""
    events = [
        {name: value for name, value in event.items() if name != "user_id"}
        for event in log
        if event["user_id"] == log[row]["user_id"]
    ]
    parallel = {name: [event[name] for event in events] for name in events[0]}
    candidate = {name: log[row][name] for name in ("video_id", "author_id")}
    return {"context": {"time_ms": log[row]["time_ms"], "watched": events, "seen": parallel}, "candidates": [candidate]}


def test_a_request_with_events_has_the_scores_of_training(run: Path, folder: Path) -> None:
    rows, predictions = score(run)
    log = pq.read_table(folder / "log.parquet").to_pylist()
    bundle = Bundle.open(folder / f"{run.name}-export")
    assert len(rows) == len(predictions["click"])
    assert predictions["click"].std() > 1e-4
    for place in range(0, len(rows), 12):
        body = json.dumps(request_of(log, rows[place])).encode()
        question = read(body, list(bundle.manifest.columns), 10)
        scored, _ = bundle.score(question.columns, question.rows)
        for task in ("click", "long"):
            np.testing.assert_allclose(scored[task][0], predictions[task][place], atol=1e-5)


def test_tensors_with_events_as_json_have_the_same_scores(run: Path, folder: Path) -> None:
    rows, _ = score(run)
    log = pq.read_table(folder / "log.parquet").to_pylist()
    bundle = Bundle.open(folder / f"{run.name}-export")
    asked = request_of(log, rows[3])
    values = {**asked["context"], **asked["candidates"][0]}
    kinds = {"time_ms": "INT64", "video_id": "INT64", "author_id": "INT64"}
    inputs = [
        {"name": name, "shape": [1], "datatype": kinds.get(name, "BYTES"), "data": [value]}
        for name, value in values.items()
    ]
    for item in inputs:
        if item["datatype"] == "BYTES":
            item["data"] = [json.dumps(value) for value in item["data"]]
    answer, count = infer(bundle, json.dumps({"inputs": inputs}).encode(), 10, "feed", None)
    question = read(json.dumps(asked).encode(), list(bundle.manifest.columns), 10)
    expected, _ = bundle.score(question.columns, question.rows)
    outputs = {item["name"]: item["data"] for item in json.loads(answer.body)["outputs"]}
    assert count == 1
    assert outputs["prediction/click"] == pytest.approx(expected["click"].tolist(), abs=1e-6)
    for wrong, reason in (("[", "JSON list of events"), ("[[1]]", "is not an object"), ("7", "not events")):
        body = {"inputs": [{**item, "data": [wrong]} if item["name"] == "seen" else item for item in inputs]}
        with pytest.raises(RequestError, match=reason):
            infer(bundle, json.dumps(body).encode(), 10, "feed", None)


def test_a_table_with_events_has_the_scores_of_training(run: Path, folder: Path, tmp_path: Path) -> None:
    rows, predictions = score(run)
    log = pq.read_table(folder / "log.parquet").to_pylist()
    taken = rows[:40]
    table = []
    for row in taken:
        asked = request_of(log, row)
        table.append({**asked["context"], **asked["candidates"][0], "user_id": log[row]["user_id"]})
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "rows.parquet")
    for model in (run, folder / f"{run.name}-export"):
        out = tmp_path / f"{model.name}.parquet"
        assert command("predict", f"run={model}", f"data={tmp_path / 'rows.parquet'}", f"out={out}") == 0
        scored = pq.read_table(out)
        for task in ("click", "long"):
            np.testing.assert_allclose(scored[task].to_numpy(), predictions[task][:40], atol=1e-5)


def test_the_exported_program_has_the_scores_of_training(run: Path, folder: Path) -> None:
    rows, predictions = score(run)
    export = folder / f"{run.name}-export"
    log = pq.read_table(folder / "log.parquet").to_pylist()
    asked = [request_of(log, row) for row in rows[:20]]
    table = pa.Table.from_pylist([{**body["context"], **body["candidates"][0], "user_id": ""} for body in asked])
    batch = Transforms.load(export / "transforms.json").encode(table)
    names = [entry["name"] for entry in Manifest.open(export).inputs]
    assert {name for name in names if name.startswith("history/watched")} == {
        f"history/watched/{part}" for part in ("ids", "numbers", "length", "gap")
    }
    program = torch.export.load(export / "model.pt2").module()
    traced = program({name: value for name, value in inputs_of(batch).items() if name in names})
    np.testing.assert_allclose(traced["click"].detach().numpy(), predictions["click"][:20], atol=1e-5)


def test_candidates_share_the_history_of_the_context(run: Path, folder: Path) -> None:
    log = pq.read_table(folder / "log.parquet").to_pylist()
    bundle = Bundle.open(folder / f"{run.name}-export")
    asked = request_of(log, 7)
    candidates = [{"video_id": i, "author_id": 1} for i in range(5)]
    question = read(json.dumps({**asked, "candidates": candidates}).encode(), list(bundle.manifest.columns), 10)
    together, _ = bundle.score(question.columns, question.rows)
    for i, candidate in enumerate(candidates):
        question = read(json.dumps({**asked, "candidates": [candidate]}).encode(), list(bundle.manifest.columns), 10)
        alone, _ = bundle.score(question.columns, question.rows)
        np.testing.assert_allclose(alone["click"][0], together["click"][i], atol=1e-6)


def test_what_an_export_needs_is_in_its_manifest(run: Path, folder: Path) -> None:
    bundle = Bundle.open(folder / f"{run.name}-export")
    assert bundle.manifest.columns["watched"] == ["watched"]
    assert set(bundle.manifest.columns["time_ms"]) == {"watched", "seen"}
    assert "user_id" not in bundle.manifest.columns
    described = operation(bundle, 5)["requestBody"]["content"]["application/json"]["schema"]
    columns = described["properties"]["context"]["properties"]
    assert columns["watched"]["type"] == ["array", "object", "null"]
    assert "array" not in columns["time_ms"]["type"]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([{"video_id": 1}], r"watched\[0\] has no 'time_ms'"),
        ([3], r"watched\[0\] is not an object"),
        ({"video_id": [1]}, "events have no 'time_ms'"),
        ("1,2", "holds str, not events"),
        ([{"video_id": [1], "time_ms": 1, "author_id": 1, "tab": "t", "play_time_ms": 1, "is_click": 1}], "nested"),
        ([{"video_id": 1, "time_ms": "2024-01-01", "author_id": 1, "tab": "t", "play_time_ms": 1, "is_click": 1}],
         "holds times where it held numbers"),
        ([{"video_id": 1, "time_ms": 1, "author_id": 1, "tab": "t", "play_time_ms": "x", "is_click": 1}],
         "is not a number"),
    ],
)  # fmt: skip
def test_events_that_cannot_be_used_are_refused(run: Path, folder: Path, events: object, message: str) -> None:
    bundle = Bundle.open(folder / f"{run.name}-export")
    columns = {"time_ms": [9], "video_id": [1], "author_id": [2], "watched": [events], "seen": [None]}
    with pytest.raises(DataError, match=message):
        bundle.score(columns, 1)


def test_parallel_lists_of_unequal_lengths_are_refused(run: Path, folder: Path) -> None:
    bundle = Bundle.open(folder / f"{run.name}-export")
    seen = {"video_id": [1, 2], "time_ms": [1]}
    with pytest.raises(DataError, match="lists of \\[1, 2\\] events"):
        bundle.score({"time_ms": [9], "video_id": [1], "author_id": [2], "watched": [[]], "seen": [seen]}, 1)
    rows = {"time_ms": [9], "video_id": [1], "author_id": [2], "watched": [None], "seen": [seen]}
    with pytest.raises(DataError, match="1 of 'time_ms' and 2 of 'video_id' in row 0"):
        bundle.transforms.encode(rows)


def test_predict_builds_no_histories(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, data in ((run, []), (run, ["log"]), (folder / f"{run.name}-export", ["log"])):
        pairs = [f"data={folder / 'log.parquet'}" for _ in data]
        assert command("predict", f"run={model}", *pairs, f"out={tmp_path / 'x.parquet'}") == 2
        assert "with the events of each row's history (predict does not build histories" in capsys.readouterr().err


def test_init_from_continues_histories(folder: Path, tmp_path: Path, cache: Path) -> None:
    """The second day's rows are scored with the events of both days, also once the first run is gone."""
    log = pq.read_table(folder / "log.parquet")
    first = log["time_ms"].to_numpy() < 2500
    (tmp_path / "days").mkdir()
    for name, part in (("monday", log.filter(first)), ("tuesday", log.filter(~first))):
        pq.write_table(part, tmp_path / "days" / f"{name}.parquet")
    pairs = [f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_epochs=1"]
    monday = [f"recipe={folder / 'recipe.yaml'}", f"source.path={tmp_path / 'days' / 'monday.parquet'}"]
    assert command("fit", *monday, *pairs, f"run.dir={tmp_path / 'monday'}") == 0
    path = tmp_path / "days" / "log.parquet"
    (tmp_path / "days" / "tuesday.parquet").rename(path)
    tuesday = [f"init_from={tmp_path / 'monday'}", f"source.path={path}", f"run.dir={tmp_path / 'days' / 'tuesday'}"]
    assert command("fit", *tuesday, *pairs) == 0
    again = RunDirectory.open(tmp_path / "days" / "tuesday")
    shutil.rmtree(tmp_path / "monday")
    shutil.rmtree(tmp_path / "cache")  # prepared again, from the run's own copy of Monday's events
    rows, predictions = score(again.path, again)
    transforms = Transforms.load(again.transforms)
    module = module_from_config(validate(yaml.safe_load(again.config_file.read_text())), transforms.schema)
    load_weights(module, again.weights())
    both = [*log.filter(first).to_pylist(), *pq.read_table(path).to_pylist()]
    taken = [request_of(both, int(first.sum()) + row) for row in rows[::9]]
    asked = transforms.encode([{**item["context"], **item["candidates"][0]} for item in taken])
    assert asked.steps["seen"].length.float().mean() > 15
    with torch.no_grad():
        scored = module.network.eval()(asked)
    for task in ("click", "long"):
        np.testing.assert_allclose(scored[task].numpy(), predictions[task][::9], atol=1e-5)
    # Calibration is measured on validation rows, which are encoded as in the run.
    assert command("export", f"run={again.path}", f"out={tmp_path / 'export'}") == 0
