"""Exports that have the latest events of users: requests name the user only, and events are appended."""

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from commands import command
from server import Server

from mtl_lightning.build import module_from_config
from mtl_lightning.config import validate
from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.store.latest_events import INDEX, exported_latest, files_of
from mtl_lightning.errors import MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.serve.events import append
from mtl_lightning.serve.request import RequestError

pytestmark = pytest.mark.xdist_group("histories")

END = 2500
"""Time at which the log of the run ends; later rows are requests."""
HISTORIES = {
    "watched": {
        "kind": "history", "by": "user_id", "time": "time_ms", "of": "video_id", "where": "is_click == 1",
        "with": ["author_id", "videos.series", {"play_time_ms": "log"}], "gap": True, "length": 6, "delay": 40,
    },
    "seen": {"kind": "history", "by": "user_id", "time": "time_ms", "of": "video_id", "length": 9},
}  # fmt: skip
SCORED = ("video_id", "author_id", "user_id", "time_ms")


@pytest.fixture(scope="module")
def log() -> list[dict[str, Any]]:
    """Rows of 30 users, in no order; later ones have values that the run does not know."""
    rng = np.random.default_rng(0)
    rows = 1800
    times = rng.permutation(2 * rows)[:rows] // 2 * 2
    columns = {
        "user_id": pa.array([f"u{i}" for i in rng.integers(0, 30, rows)]),
        "video_id": pa.array(rng.integers(0, 40, rows) + (times > END) * 3, mask=rng.random(rows) < 0.02),
        "author_id": rng.integers(0, 15, rows),
        "time_ms": times,
        "play_time_ms": pa.array(rng.exponential(9000, rows), mask=rng.random(rows) < 0.1),
        "is_click": rng.integers(0, 2, rows),
    }
    return pa.table(columns).to_pylist()


@pytest.fixture(scope="module")
def run(log: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshots")
    pq.write_table(pa.Table.from_pylist([row for row in log if row["time_ms"] <= END]), folder / "log.parquet")
    videos = {"video_id": list(range(1, 38)), "series": [f"s{i % 7}" for i in range(37)]}
    pq.write_table(pa.table(videos), folder / "videos.parquet")
    recipe = {
        "extends": "base",
        "source": {"name": "table", "path": str(folder / "log.parquet"), "after_event": ["play_time_ms"]},
        "split": {"by": "time", "column": "time_ms"},
        "features": {"video_id": {"kind": "categorical"}, "author_id": {"kind": "categorical"}, **HISTORIES},
        "tasks": {"click": {"kind": "binary", "label": "is_click"}},
        "data": {
            "batch_size": 256,
            "group": "user_id",
            "cache_dir": str(folder / "cache"),
            "lookup": {"videos": {"path": str(folder / "videos.parquet"), "key": "video_id"}},
        },
        "trainer": {"max_epochs": 2},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert command("fit", f"recipe={folder / 'recipe.yaml'}", f"run.dir={folder / 'run'}") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def export(run: Path) -> Path:
    out = run.parent / "export"
    assert command("export", f"run={run}", f"out={out}", "histories=true") == 0
    shutil.rmtree(run.parent / "cache")
    return out


@pytest.fixture(scope="module")
def server(export: Path) -> Iterator[Server]:
    served = Server(export, max_rows=500, reload_every=0)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def bundle(export: Path) -> Bundle:
    return Bundle.open(export)


def reference(run: Path, log: list[dict[str, Any]], rows: list[dict[str, Any]]) -> np.ndarray:
    """Predictions of the run's network for rows that bring every event of their user."""
    opened = RunDirectory.open(run)
    transforms = Transforms.load(opened.transforms)
    module = module_from_config(validate(yaml.safe_load(opened.config_file.read_text())), transforms.schema)
    load_weights(module, opened.weights())
    asked = []
    for row in rows:
        own = [
            {k: v for k, v in event.items() if k != "user_id"} for event in log if event["user_id"] == row["user_id"]
        ]
        asked.append({**{name: row[name] for name in SCORED}, "watched": own, "seen": own})
    with torch.no_grad():
        values: np.ndarray = module.network.eval()(transforms.encode(asked))["click"].numpy()
    return values


def score(server: Server, *rows: dict[str, Any]) -> list[float]:
    answer = server.client.post("/score", json={"candidates": [{name: row[name] for name in SCORED} for row in rows]})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["predictions"]["click"])


def test_refused_events_have_a_status(server: Server) -> None:
    answer = server.client.post("/events", json={"events": [{}]})
    assert answer.status_code == 422
    assert answer.json() == {"error": "events[0] has no column 'user_id': write null where it is missing"}
    described = server.client.get("/openapi.json").json()["paths"]["/events"]["post"]["requestBody"]
    assert "watched, seen" in json.dumps(described) or "seen, watched" in json.dumps(described)


def test_scores_by_user_are_the_ones_of_training(server: Server, run: Path, log: list[dict[str, Any]]) -> None:
    later = sorted((row for row in log if row["time_ms"] > END), key=lambda row: row["time_ms"])
    scores = []
    for place, row in enumerate(later):
        if place % 3 == 0:
            scores += score(server, row)
        form = [row] if place % 2 else {name: [value] for name, value in row.items()}
        answer = server.client.post("/events", json={"events": form})
        assert answer.status_code == 200, answer.text
        assert answer.json()["events"] == {"watched": row["is_click"], "seen": 1}
    want = reference(run, log, later[::3])
    assert want.std() > 1e-3
    np.testing.assert_allclose(scores, want, atol=1e-5)
    # Several candidates of several users at once, and the users in the context.
    last = [{**row, "time_ms": 9000 + place} for place, row in enumerate(later[-20:])]
    np.testing.assert_allclose(score(server, *last), reference(run, log, last), atol=1e-5)
    context = {name: last[0][name] for name in ("user_id", "time_ms")}
    candidates = [{name: row[name] for name in ("video_id", "author_id")} for row in last]
    answer = server.client.post("/score", json={"context": context, "candidates": candidates}).json()
    want = reference(run, log, [{**row, **context} for row in last])
    np.testing.assert_allclose(answer["predictions"]["click"], want, atol=1e-5)
    assert f"mtl_events_total {len(later)}.0" in server.client.get("/metrics").text


def test_events_of_a_request_come_before_the_ones_of_its_user(server: Server, run: Path, log: list) -> None:
    row = {**log[0], "time_ms": 5000}
    asked = {name: row[name] for name in SCORED}
    none = {**asked, "watched": [], "seen": None}
    stranger = {**asked, "user_id": "nobody"}
    bodies = [{"candidates": [item]} for item in (asked, none, stranger)]
    first, second, third = (server.client.post("/score", json=body).json()["predictions"]["click"] for body in bodies)
    assert abs(first[0] - second[0]) > 1e-4
    np.testing.assert_allclose(second, third, atol=1e-6)  # an unknown user has an empty history
    np.testing.assert_allclose(second, reference(run, [], [row]), atol=1e-5)


EVENT = {"user_id": "u1", "video_id": 3, "author_id": 1, "time_ms": 5000, "play_time_ms": 5.0, "is_click": 1}
WITHOUT = {name: value for name, value in EVENT.items() if name != "author_id"}


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 422, "must be an object with events"),
        ({}, 422, "events must be a list of objects"),
        ({"events": []}, 422, "there are no events"),
        ({"events": [EVENT], "candidates": []}, 422, "unknown key 'candidates': the keys are histories and events"),
        ({"events": [EVENT], "histories": ["watchd"]}, 422, "no history 'watchd' (did you mean 'watched'?)"),
        ({"events": [EVENT], "histories": []}, 422, "histories must be a list"),
        ({"events": [EVENT], "histories": [["seen"]]}, 422, "no history ['seen']"),
        ({"events": [EVENT, 1]}, 422, "events[1] is not an object"),
        ({"events": [EVENT, WITHOUT]}, 422, "events[1] has no column 'author_id': write null"),
        ({"events": {"user_id": ["u1"]}}, 422, "no column 'time_ms'"),
        ({"events": {"user_id": ["u1"], "time_ms": [1, 2]}}, 422, "different lengths"),
        ({"events": [EVENT, {**EVENT, "play_time_ms": "long"}]}, 422, "events[1]: column 'play_time_ms' holds 'long'"),
        ({"events": [EVENT, {**EVENT, "video_id": [3]}]}, 422, "events[1]: column 'video_id' holds nested values"),
        ({"events": [EVENT, {**EVENT, "time_ms": "soon"}]}, 422, "time_ms"),
        ({"events": [EVENT] * 501}, 413, "501 events: at most 500"),
    ],
)
def test_events_that_are_refused_change_nothing(bundle: Bundle, body: Any, status: int, reason: str) -> None:
    asked = {name: [value] for name, value in {**EVENT, "time_ms": 6000}.items()}
    before, _ = bundle.score(asked, 1)
    with pytest.raises(RequestError) as raised:
        append(bundle, body if isinstance(body, bytes) else json.dumps(body).encode(), 500, 1000)
    assert (raised.value.status, reason in raised.value.reason) == (status, True), raised.value.reason
    assert bundle.score(asked, 1)[0] == before


def test_concurrent_events_and_requests_lose_nothing(server: Server, export: Path) -> None:
    users = [f"new{number}" for number in range(4)]
    times = np.arange(5000, 5000 + 8 * 25 * 2, 2)

    def send(part: np.ndarray) -> None:
        for at in part.tolist():
            events = [{**EVENT, "user_id": user, "time_ms": at, "video_id": at % 40} for user in users]
            assert server.client.post("/events", json={"events": events}).status_code == 200
            scores = score(server, *({**EVENT, "user_id": user, "time_ms": 9000} for user in users))
            assert len(set(scores)) == 1  # a request has all four events of another, or none

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(send, part) for part in np.split(np.random.default_rng(0).permutation(times), 8)]:
            done.result()
    events = [{**EVENT, "time_ms": at, "video_id": at % 40} for at in times.tolist()]
    own = [{name: value for name, value in event.items() if name != "user_id"} for event in events]
    asked = {**{name: EVENT[name] for name in SCORED}, "time_ms": 9000, "watched": own, "seen": own}
    want, _ = Bundle.open(export).score({name: [value] for name, value in asked.items()}, 1)
    np.testing.assert_allclose(score(server, {**EVENT, "user_id": "new0", "time_ms": 9000}), want["click"], atol=1e-6)


def test_memory_is_bounded(export: Path) -> None:
    bundle = Bundle.open(export)
    live = bundle.transforms.live

    def post(user: str, times: list[int], most: int) -> None:
        events = {name: [value] * len(times) for name, value in EVENT.items()} | {"time_ms": times}
        append(bundle, json.dumps({"events": {**events, "user_id": [user] * len(times)}}).encode(), 9000, most)

    for start in range(5000, 9000, 400):
        post("u1", list(range(start, start + 400)), 2)
    appended = live._appended  # the only place where their number is seen
    (watched,), (seen,) = appended["watched"].values(), appended["seen"].values()
    assert (len(watched.times), len(seen.times)) == (6 + 41, 9 + 1)  # delay: 40, 0
    post("u1", [20_000] * 3000, 2)  # all at once: nothing is older than the delay
    sizes = {name: [len(history.times) for history in histories.values()] for name, histories in appended.items()}
    assert sizes == {"watched": [6 + 1000], "seen": [9 + 1000]}
    post("u2", [5000], 2)
    with pytest.raises(RequestError, match=r"2 users have new events in '(seen|watched)'") as raised:
        post("u3", [5000], 2)
    assert raised.value.status == 507


def test_a_reload_replaces_the_events(export: Path, log: list[dict[str, Any]], tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(export)
    server = Server(link, reload_every=0.1)
    try:
        asked = {**EVENT, "time_ms": 6000}
        before = score(server, asked)
        for video in range(9):
            event = {**EVENT, "time_ms": 5000 + video, "video_id": video}
            assert server.client.post("/events", json={"events": [event]}).status_code == 200
        assert abs(score(server, asked)[0] - before[0]) > 1e-5
        shutil.copytree(export, tmp_path / "next")
        manifest = json.loads((tmp_path / "next" / "manifest.json").read_text())
        (tmp_path / "next" / "manifest.json").write_text(json.dumps({**manifest, "recipe": "next"}))
        (tmp_path / "new").symlink_to(tmp_path / "next")
        (tmp_path / "new").replace(link)
        deadline = time.monotonic() + 60
        while server.client.get("/ready").json()["recipe"] != "next":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert score(server, asked) == before
    finally:
        server.stop()


def test_predict_takes_the_events_of_the_export(export: Path, run: Path, log: list, tmp_path: Path) -> None:
    rows = [{**row, "time_ms": END + 100 + place} for place, row in enumerate(log[:50])]
    table = pa.Table.from_pylist([{name: row[name] for name in SCORED} for row in rows])
    pq.write_table(table, tmp_path / "rows.parquet")
    out = tmp_path / "scores.parquet"
    assert command("predict", f"run={export}", f"data={tmp_path / 'rows.parquet'}", f"out={out}") == 0
    known = [row for row in log if row["time_ms"] <= END]
    np.testing.assert_allclose(pq.read_table(out)["click"].to_numpy(), reference(run, known, rows), atol=1e-5)


def test_an_export_without_histories_takes_no_events(run: Path, tmp_path: Path) -> None:
    assert command("export", f"run={run}", f"out={tmp_path / 'plain'}", "calibrate=false") == 0
    with pytest.raises(RequestError, match="no histories that events are appended to") as raised:
        append(Bundle.open(tmp_path / "plain"), b'{"events": []}', 9, 9)
    assert raised.value.status == 404


def test_a_run_without_events_of_users_is_refused(run: Path, tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(run, tmp_path / "older")
    shutil.rmtree(tmp_path / "older" / "transforms" / "latest")
    pairs = [f"run={tmp_path / 'older'}", f"out={tmp_path / 'out'}", "calibrate=false", "histories=true"]
    assert command("export", *pairs) == 2
    assert "has no events of users (fit the run again" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["id", "order", "slice", "short", "form", "part"])
def test_events_that_do_not_fit_the_export_are_refused(export: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(export, folder)
    users, _, events, about = (folder / name for name in files_of("watched"))
    index = np.fromfile(users, dtype=INDEX)
    if damage == "id":
        values = np.fromfile(events, dtype=np.int32)
        values[0] = 2**30
        values.tofile(events)
    elif damage == "order":
        index[::-1].tofile(users)
    elif damage == "slice":
        index["stop"][-1] += 1
        index.tofile(users)
    elif damage == "short":
        events.write_bytes(events.read_bytes()[:-1])
    elif damage == "form":
        about.write_text(json.dumps({**json.loads(about.read_text()), "scale": 2.0}))
    else:
        about.unlink()
    transforms = Transforms.load(folder / "transforms.json").histories
    sizes = {name: [table.vocabulary.size for table in part.tables.values()] for name, part in transforms.items()}
    layouts = {name: part.layout for name, part in transforms.items()}
    assert set(exported_latest(export, [path.name for path in export.iterdir()], sizes, layouts)) == set(transforms)
    with pytest.raises(MtlError, match=r"export(ed)? .*again|export again"):
        exported_latest(folder, [path.name for path in folder.iterdir()], sizes, layouts)
    with pytest.raises(MtlError):  # the manifest's hashes find it first
        Bundle.open(folder)
