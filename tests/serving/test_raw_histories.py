"""Public logs in their raw form through ``fit`` and ``export`` to a service that has the histories of users."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import raw_logs
from commands import command
from fastapi.testclient import TestClient

from mtl_lightning.data.arrow.columns import WRITTEN
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.plugins import registry
from mtl_lightning.serve.app import Service
from mtl_lightning.serve.limits import Limits
from mtl_lightning.serve.live_export import LiveExport

pytestmark = pytest.mark.xdist_group("histories")


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def events_of_log(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{name: plain(row[name]) for name in columns} for row in rows]


def events_of_ebnerd(folder: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """The lists of ``history.parquet`` as events; both splits list the same ones."""
    events = []
    for row in pq.read_table(folder / "train" / "history.parquet").to_pylist():
        for place in range(len(row["article_id_fixed"])):
            event = {name: row[f"{name}_fixed"][place] for name in columns if name != "user_id"}
            events.append({name: plain(value) for name, value in {**event, "user_id": row["user_id"]}.items()})
    return events


@pytest.fixture(
    scope="module",
    params=["kuairand", "ebnerd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("wechat", "tenrec"))],
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An export of each recipe in a service, and rows of its log."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    raw = raw_logs.written(name)
    small = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "data.batch_size=64", f"data.cache_dir={folder}"]
    assert command("fit", f"recipe={name}", f"source.path={raw}", *small, f"run.dir={folder / 'run'}") == 0
    by_user = [] if name == "tenrec" else ["histories=true"]
    pairs = [f"run={folder / 'run'}", f"out={folder / 'export'}", "calibrate=false", *by_user]
    assert command("export", *pairs) == 0
    source = registry().resolve("source", name)(path=str(raw))
    rows = [
        {key: value for key, value in row.items() if not key.startswith(WRITTEN)}
        for split in source.schema().splits or (None,)
        for row in source.rows(split)
    ]
    live = LiveExport(folder / "export")
    with TestClient(Service(live, Limits(reload_every=0)).app) as client:
        yield {"name": name, "client": client, "rows": rows, "bundle": live.bundle, "raw": raw}


def ask(served: dict[str, Any], rows: list[dict[str, Any]], **more: Any) -> np.ndarray:
    columns = [*served["bundle"].manifest.columns]
    candidates = [{**{name: plain(row[name]) for name in columns}, **more} for row in rows]
    answer = served["client"].post("/score", content=json.dumps({"candidates": candidates}))
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    return np.array([predictions[task] for task in sorted(predictions)])


def test_requests_that_name_the_user_have_the_scores_of_their_events(served: dict[str, Any]) -> None:
    bundle: Bundle = served["bundle"]
    histories = bundle.transforms.histories
    assert set(bundle.transforms.live.latest) == set(histories)
    assert bool(histories) == (served["name"] != "tenrec")  # Tenrec has no times, and lists of its own
    last = {part.feature.time: max(row[part.feature.time] for row in served["rows"]) for part in histories.values()}
    rows = [{**row, **last} for row in served["rows"][:40]]
    by_user = ask(served, rows)
    assert np.isfinite(by_user).all()
    if not histories:
        return
    given: dict[str, list[list[dict[str, Any]]]] = {}
    for name, part in histories.items():
        columns = part.feature.source_columns
        events = (
            events_of_log(served["rows"], columns)
            if part.feature.from_ is None
            else events_of_ebnerd(served["raw"], columns)
        )
        given[name] = [[one for one in events if one[part.feature.by] == row[part.feature.by]] for row in rows]
    lengths = [len(events) for histories_of in given.values() for events in histories_of]
    assert max(lengths) > 1
    for place, row in enumerate(rows[:8]):
        more = {name: events[place] for name, events in given.items()}
        np.testing.assert_allclose(ask(served, [row], **more)[:, 0], by_user[:, place], atol=1e-5)


def test_events_that_are_sent_count(served: dict[str, Any]) -> None:
    client, live = served["client"], served["bundle"].transforms.live
    if not live.latest:
        assert client.post("/events", json={"events": [{}]}).status_code == 404
        return
    columns = live.columns(live.latest)
    row = served["rows"][0]
    event = {name: plain(row.get(name, 1)) for name in columns}
    answer = client.post("/events", json={"events": [event] * 3})
    assert answer.status_code == 200, answer.text
    assert max(answer.json()["events"].values()) == 3
