"""Histories against their definition, spelled out row by row."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation import partitions
from mtl_lightning.data.preparation.histories import LATEST, slices
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.sources.table import Table
from mtl_lightning.data.store.loader import Loader

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Event:
    """A row of the log as the definition sees it."""

    user: str | None
    time: int | None
    item: int
    click: int


def log(seed: int, rows: int, users: int, *, times: int = 40, missing: float = 0.1) -> list[Event]:
    """An unsorted log with equal times, missing users and missing times."""
    rng = np.random.default_rng(seed)
    user = [None if rng.random() < missing else f"u{rng.integers(users)}" for _ in range(rows)]
    time = [None if rng.random() < missing else int(rng.integers(times)) for _ in range(rows)]
    return [Event(user[i], time[i], int(rng.integers(1, 9)), int(rng.integers(2))) for i in range(rows)]


def expected(events: list[Event], row: Event, length: int, delay: float, clicked: bool) -> list[tuple[int, int]]:
    """Item and time of the events in a row's history: the definition, without a sort of the log."""
    if row.user is None or row.time is None:
        return []
    earlier = [
        (event.time, place, event.item)
        for place, event in enumerate(events)
        if event.user == row.user
        and event.time is not None
        and event.time < row.time - delay
        and (event.click == 1 or not clicked)
    ]
    return [(item, time) for time, _, item in sorted(earlier)][-length:]


def table(events: list[Event]) -> dict[str, list[object]]:
    """Columns of a log; ``row`` is a feature that says which row a batch holds."""
    return {
        "user": [event.user for event in events],
        "time": [event.time for event in events],
        "item": [event.item for event in events],
        "click": [event.click for event in events],
        "row": list(range(len(events))),
    }


def data(rows: object, folder: Path, history: dict[str, object], **options: object) -> DataModule:
    """A log with one history, split at random: every split has rows in between the rows of the others."""
    features = {
        "row": {"kind": "numeric", "transform": "none"},
        "item": "categorical",
        "watched": {"kind": "history", "by": "user", "time": "time", "of": "item", "gap": True, **history},
    }
    chosen = {"split": {"by": "random", "validation": 0.2, "test": 0.2}, "batch_size": 7, "eval_batch_size": 7}
    source = {"features": features, "tasks": {"click": "binary"}, "cache_dir": folder, **chosen, **options}
    return rows(source) if callable(rows) else DataModule.from_frame(rows, **source)


def built(module: DataModule) -> dict[int, list[tuple[int, int]]]:
    """Item and gap of each step, by row, from all batches of all splits."""
    keys = module.prepared.transforms.transforms["item"].table.vocabulary.keys.to_pylist()
    built_steps = {}
    for split in SPLITS:
        for batch in module.loader(split, shuffle=True):
            steps = batch.steps["watched"]
            assert all(part[~steps.known].eq(0).all() for part in (steps.ids, steps.numbers, steps.gap))
            for row, number in enumerate(batch.dense[:, 0].long().tolist()):
                length = int(steps.length[row])
                items = [None if code == 1 else int(keys[code - 2]) for code in steps.ids[row, :length, 0].tolist()]
                built_steps[number] = list(zip(items, steps.gap[row, :length].tolist(), strict=True))
    return built_steps


def definition(events: list[Event], length: int, delay: float = 0, *, clicked: bool = False):
    """The same by the definition."""
    return {
        place: [(item, row.time - time) for item, time in expected(events, row, length, delay, clicked)]
        for place, row in enumerate(events)
    }


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(12, 80),
    users=st.integers(1, 6),
    length=st.integers(1, 12),
    delay=st.sampled_from([0, 1, 2.5, 7]),
    clicked=st.booleans(),
)
def test_every_row_of_every_split_has_the_history_of_the_definition(
    tmp_path_factory, seed, rows, users, length, delay, clicked
):
    events = log(seed, rows, users)
    where = {"where": "click == 1"} if clicked else {}
    module = data(table(events), tmp_path_factory.mktemp("cache"), {"length": length, "delay": delay, **where})
    keys = set(module.prepared.transforms.transforms["item"].table.vocabulary.keys.to_pylist())
    want = definition(events, length, delay, clicked=clicked)
    # An item that no training row has is unknown in every history.
    assert built(module) == {
        row: [(item if item in keys else None, gap) for item, gap in steps] for row, steps in want.items()
    }


@settings(max_examples=200, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 9)), max_size=30),
    rows=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 9)), max_size=30),
    length=st.integers(1, 5),
    delay=st.sampled_from([0, 1, 2.5]),
    kind=st.sampled_from(["fractions", "whole", "far apart"]),
)
def test_slices_are_the_latest_events_of_the_user(events, rows, length, delay, kind):
    if kind == "far apart":  # user and time do not fit into one integer
        far = {time: (time - 5) * 2**59 + time % 2 for time in range(10)}
        events, rows = ([(user, far[time]) for user, time in pairs] for pairs in (events, rows))
    kind = np.float64 if kind == "fractions" else np.int64
    user, time = (np.array([event[i] for event in events], dtype=[np.int64, kind][i]) for i in range(2))
    row_user, row_time = (np.array([row[i] for row in rows], dtype=[np.int64, kind][i]) for i in range(2))
    order, start, stop = slices(user, time, row_user, row_time, length, delay)
    for row in range(len(rows)):
        before = [i for i in range(len(events)) if events[i][0] == rows[row][0] and events[i][1] < rows[row][1] - delay]
        latest = sorted(before, key=lambda i: (events[i][1], i))[-length:]
        assert order[start[row] : stop[row]].tolist() == latest


def test_rows_at_or_after_a_row_change_nothing_of_it(tmp_path):
    events = log(0, 120, 4, missing=0)
    before = built(data(table(events), tmp_path / "a", {"length": 20, "where": "click == 1"}))
    for place in range(0, 120, 17):
        changed = list(events)
        changed[place] = Event(
            changed[place].user, changed[place].time, 9 - changed[place].item, 1 - changed[place].click
        )
        after = built(data(table(changed), tmp_path / f"b{place}", {"length": 20, "where": "click == 1"}))
        for row, event in enumerate(events):
            if event.time <= events[place].time:
                assert after[row] == before[row]


def test_formats_give_equal_histories(tmp_path):
    events = log(1, 200, 5)
    frame = pd.DataFrame(table(events))
    whole = pa.Table.from_pandas(frame.astype({"time": "Int64"}), preserve_index=False)
    pcsv.write_csv(whole, tmp_path / "log.csv")
    pq.write_table(whole, tmp_path / "log.parquet", row_group_size=37)
    lines = [json.dumps(row) for row in whole.to_pylist()]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    for number in range(3):
        pq.write_table(whole.slice(67 * number, 67), tmp_path / f"part-{number}.parquet")
    history = {"length": 6, "delay": 1}
    want = built(data(table(events), tmp_path / "cache", history))
    assert want == definition(events, 6, 1)
    assert built(data(frame, tmp_path / "cache", history)) == want
    for path in ("log.csv", "log.parquet", "log.jsonl", "part-*.parquet"):
        source = Table(path=str(tmp_path / path), format="json" if path.endswith("jsonl") else None)
        assert (
            built(data(lambda options, source=source: DataModule(source, **options), tmp_path / "cache", history))
            == want
        )


def test_times_of_every_type_give_equal_histories(tmp_path):
    events = log(2, 100, 4)
    start = datetime(2024, 2, 28, 23, tzinfo=UTC)
    moments = [None if event.time is None else start + timedelta(hours=event.time) for event in events]
    plain = [None if moment is None else moment.replace(tzinfo=None) for moment in moments]
    forms = {
        "zoned": pa.array(moments, pa.timestamp("ns", "UTC")),
        "seconds": pa.array(plain, pa.timestamp("s")),
        "text": pa.array([None if moment is None else moment.isoformat() for moment in plain]),
        "written": pa.array([None if moment is None else moment.strftime("%d.%m.%Y %H:%M") for moment in plain]),
    }
    want = {row: [(item, 3600.0 * gap) for item, gap in steps] for row, steps in definition(events, 9, 2).items()}
    for name, values in forms.items():
        rows = pa.table({**table(events), "time": values})
        history = {"length": 9, "delay": 2 * 3600, **({"format": "%d.%m.%Y %H:%M"} if name == "written" else {})}
        assert built(data(rows, tmp_path, history)) == want, name


def test_processes_see_each_row_once_with_its_history(tmp_path):
    events = log(3, 150, 4)
    module = data(table(events), tmp_path, {"length": 8})
    want = definition(events, 8)
    store = module.prepared.stores["train"]
    seen = []
    for rank in range(3):
        for pool in (None, 16):
            for batch in Loader(store, 5, shuffle=True, seed=1, rank=rank, world=3, pool=pool):
                lengths = batch.steps["watched"].length.tolist()
                rows = batch.dense[:, 0].long().tolist()
                assert lengths == [len(want[row]) for row in rows]
                seen += rows
    assert sorted(seen) == sorted(2 * store.parts["dense"][:, 0].long().tolist())


def test_events_are_stored_once_and_followed_by_one_window_of_zeros(tmp_path):
    events = log(4, 300, 3, missing=0)
    sizes = {}
    for length in (2, 200):
        prepared = data(table(events), tmp_path / str(length), {"length": length}).prepared
        sizes[length] = sum(file.stat().st_size for file in prepared.path.rglob("*.bin") if file.parent.name != LATEST)
        assert len(prepared.stores["train"].events["watched"]) == 300
    assert sizes[200] - sizes[2] == 198 * (2 + 4)  # an id of two bytes and the time in four


def test_a_user_of_one_row_has_no_history(tmp_path):
    events = [*log(5, 40, 3, missing=0), Event("alone", 99, 3, 1)]
    assert built(data(table(events), tmp_path, {"length": 5}))[40] == []


def test_a_user_of_a_hundred_thousand_events(tmp_path):
    rng = np.random.default_rng(0)
    count = 100_000
    time = rng.permutation(count)
    rows = {"user": np.zeros(count, dtype=np.int64), "time": time, "item": time % 7 + 1, "click": time % 2}
    rows["row"] = np.arange(count)
    module = data(rows, tmp_path, {"length": 50})
    store = module.prepared.stores["test"]
    batch = store.batch(torch.arange(500))
    steps = batch.steps["watched"]
    at = time[batch.dense[:, 0].long().numpy()]
    assert steps.length.tolist() == np.minimum(at, 50).tolist()
    for row in range(500):
        length = int(steps.length[row])
        assert steps.gap[row, :length].tolist() == list(range(length, 0, -1))


@pytest.mark.parametrize("rows", [1, 5, 1 << 20])
@pytest.mark.parametrize("in_memory", [0, 600, 1 << 28])
def test_slices_come_back_in_the_order_of_the_log(tmp_path, monkeypatch, rows, in_memory):
    monkeypatch.setattr(partitions, "CHUNK", rows)
    monkeypatch.setattr(partitions, "IN_MEMORY", in_memory)  # of these bytes, none or some records are on disk
    events = log(6, 90, 40)
    module = data(table(events), tmp_path, {"length": 4})
    assert built(module) == definition(events, 4)
    assert not [
        file for file in module.prepared.path.rglob("*.bin") if re.search(r"(rows|events|slices)-\d+\.bin", file.name)
    ]


def test_vocabularies_and_scales_are_fitted_on_training_events(tmp_path):
    rows = {
        "user": ["a"] * 10,
        "time": list(range(10)),
        "item": [1] * 8 + [2, 3],
        "shop": list("aaaaaaaabc"),
        "price": [1.0, 3.0] * 4 + [50.0, 900.0],
        "click": [1, 1, 1, 1, 1, 1, 0, 0, 1, 1],
        "row": list(range(10)),
    }
    history = {"with": ["shop", {"price": "standard"}], "where": "click == 1", "length": 9}
    split = {"by": "time", "column": "time", "validation": 0.1, "test": 0.1}
    module = data(rows, tmp_path, history, split=split)
    transform = module.prepared.transforms.transforms["watched"]
    assert transform.tables["item"] is module.prepared.transforms.transforms["item"].table
    assert transform.own["shop"].vocabulary.keys.to_pylist() == ["a"]
    assert (transform.scales["price"].mean, transform.scales["price"].scale) == (2.0, 1.0)
    (batch,) = module.loader("test")
    steps = batch.steps["watched"]
    # Events of validation are history of the test: their values are unknown, or scaled by training.
    assert steps.ids[0].tolist() == [[2, 2]] * 6 + [[1, 1]] + [[0, 0]]
    assert steps.numbers[0, :7, 0].tolist() == [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 48.0]


@pytest.mark.parametrize("gap", [True, False])
def test_rows_that_bring_their_events_have_the_history_of_the_log(tmp_path, gap):
    events = log(7, 160, 4)
    columns = pa.table({**table(events), "price": [event.item / 4 for event in events]})
    history = {"length": 5, "delay": 1, "where": "click == 1", "with": ["user", {"price": "log"}], "gap": gap}
    module = data(columns, tmp_path, history)
    transforms = module.prepared.transforms
    encoder = RowEncoder(transforms)
    raw = columns.to_pylist()
    for batch in (batch for split in SPLITS for batch in module.loader(split)):
        for place, number in enumerate(batch.dense[:, 0].long().tolist()):
            row = raw[number]
            own = [event for event in raw if event["user"] == row["user"] and row["user"] is not None]
            parallel = {name: [event[name] for event in own] for name in raw[0]}
            asked = {"row": [number], "item": [row["item"]], "time": [row["time"]]}
            steps = batch.steps["watched"].map(lambda part, place=place: part[place])
            given = transforms.encode({**asked, "watched": [own]}).steps["watched"]
            requested = encoder.encode({**asked, "watched": [parallel]}, 1)
            length = int(steps.length)
            assert int(given.length[0]) == int(requested["history/watched/length"][0]) == length
            for name in ("ids", "numbers", "gap") if gap else ("ids", "numbers"):
                want = getattr(steps, name)[:length]
                torch.testing.assert_close(getattr(given, name)[0, :length], want)
                torch.testing.assert_close(torch.from_numpy(requested[f"history/watched/{name}"])[0, :length], want)
