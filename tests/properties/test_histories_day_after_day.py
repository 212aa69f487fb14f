"""Histories that a run continues from an earlier one, against both logs prepared at once."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation.histories import LATEST
from mtl_lightning.data.store import latest_events
from mtl_lightning.data.store.latest_events import open_latest
from mtl_lightning.errors import MtlError

DAY = 20
SPLITS = ("train", "validation", "test")


def day(seed: int, number: int, rows: int, users: int) -> list[dict]:
    """Rows of one day; a few items are new every day. A user or a time may be missing."""
    rng = np.random.default_rng([seed, number])
    missing = rng.random((2, rows)) < 0.1
    return [
        {
            "user": None if missing[0, row] else f"u{rng.integers(users)}",
            "time": None if missing[1, row] else int(number * DAY + rng.integers(DAY)),
            "item": f"i{rng.integers(8) + 2 * number}",
            "click": row % 2,
            "row": 1000 * number + row,
        }
        for row in range(rows)
    ]


def data(
    rows: list[dict], folder: Path, base: DataModule | None, item: dict | None = None, **options: object
) -> DataModule:
    history = {"kind": "history", "by": "user", "time": "time", "of": "item", "where": "click == 1", "gap": True}
    features = {
        "row": {"kind": "numeric", "transform": "none"},
        "item": {"kind": "categorical", **(item or {"min_count": 2})},
        "seen": {**history, "with": ["user", {"click": "none"}], **options},
    }
    split = {"by": "random", "validation": 0.2, "test": 0.2}
    earlier = None if base is None else base.prepared.transforms
    # Columns of one type, whatever values a short day has.
    types = {"user": pa.string(), "time": pa.int64(), "item": pa.string(), "click": pa.int64(), "row": pa.int64()}
    table = pa.Table.from_pylist(rows, pa.schema(types.items()))
    return DataModule.from_frame(
        table, features=features, tasks={"click": "binary"}, split=split, cache_dir=folder, base=earlier
    )


def built(module: DataModule) -> dict[int, list[tuple]]:
    """Item and gap of each step, by row; None for items that the vocabulary does not have."""
    keys = module.prepared.transforms.transforms["item"].table.vocabulary.keys.to_pylist()
    steps_of = {}
    for batch in (batch for split in SPLITS for batch in module.loader(split)):
        steps = batch.steps["seen"]
        for place, row in enumerate(batch.dense[:, 0].long().tolist()):
            length = int(steps.length[place])
            ids, gaps = steps.ids[place, :length, 0].tolist(), steps.gap[place, :length].tolist()
            steps_of[row] = [(None if i == 1 else keys[i - 2], gap) for i, gap in zip(ids, gaps, strict=True)]
    return steps_of


def definition(events: list[dict], rows: list[dict], length: int, delay: float, module: DataModule) -> dict:
    """Histories of rows if all events are in one log, with the vocabulary of the module."""
    keys = set(module.prepared.transforms.transforms["item"].table.vocabulary.keys.to_pylist())
    result = {}
    for row in rows:
        seen = [
            (event["time"], place, event["item"] if event["item"] in keys else None)
            for place, event in enumerate(events)
            if None not in (event["user"], event["time"], row["time"])
            and (event["user"] == row["user"] and event["click"] and event["time"] < row["time"] - delay)
        ]
        result[row["row"]] = [
            (item, row["time"] - time) for time, _, item in sorted(seen, key=lambda e: e[:2])[-length:]
        ]
    return result


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(12, 60),
    users=st.integers(1, 6),
    length=st.integers(1, 8),
    delay=st.sampled_from([0, 1, 2.5, DAY + 3]),
    item=st.sampled_from([None, {"admit": 3, "expire": DAY / 2, "time": "time"}, {"evict": True, "max_size": 5}]),
)
def test_a_continued_history_is_the_one_of_all_days_at_once(tmp_path_factory, seed, rows, users, length, delay, item):
    folder = tmp_path_factory.mktemp("cache")
    module, events = None, []
    for number in range(3):
        today = day(seed, number, rows, users)
        events += today
        module = data(today, folder, module, item, length=length, delay=delay)
        assert built(module) == definition(events, today, length, delay, module), number


def test_an_event_that_both_logs_have_counts_once(tmp_path):
    first = [row for row in day(1, 0, 80, 3) if row["time"] is not None]
    second = day(1, 1, 60, 3)
    window = [row for row in first if row["time"] >= DAY // 2]  # retrained every day on the latest days
    module = data([*window, *second], tmp_path, data(first, tmp_path, None, length=30), length=30)
    after = built(module)
    assert {row["row"]: after[row["row"]] for row in second} == definition([*first, *second], second, 30, 0, module)


def test_yesterday_s_values_that_are_known_today_have_their_new_ids(tmp_path):
    rows = [{"user": "a", "time": time, "item": "x", "click": time % 2, "row": time} for time in range(12)]
    rows += [{"user": "b", "time": 15, "item": "rare", "click": 1, "row": 15}]  # once: below min_count
    first = data(rows, tmp_path, None, length=5)
    assert built(first)
    today = [{"user": "b", "time": 30 + n, "item": "rare", "click": n % 2, "row": 30 + n} for n in range(12)]
    second = data(today, tmp_path, first, length=5)
    assert built(second)[30] == [("rare", 15.0)]
    assert second.prepared.summary["cached"] is False
    assert data(today, tmp_path, first, length=5).prepared.summary["cached"]


def test_latest_events_are_bounded_and_cover_the_delay(tmp_path, monkeypatch):
    monkeypatch.setattr(latest_events, "CHUNK", 2)
    rows = day(2, 0, 400, 5)
    for length, delay in ((3, 0), (3, 4), (1000, 0)):
        prepared = data(rows, tmp_path, None, length=length, delay=delay).prepared
        latest = open_latest(prepared.path / LATEST, ["seen"])["seen"]
        clicks: dict[str, list[int]] = {}
        for row in rows:
            if row["user"] is not None and row["time"] is not None and row["click"]:
                clicks.setdefault(row["user"], []).append(row["time"])
        want = []
        for times in clicks.values():
            early, late = (
                sorted(time for time in times if (time >= max(times) - delay) == is_late) for is_late in (False, True)
            )
            want.append(early[-length:] + late)
        parts = [latest.times[part].tolist() for part in latest.of(latest.users)]
        assert sorted(parts) == sorted(want)
        chunked = [chunk.time for chunk in latest.chunks()]
        assert np.concatenate(chunked).tolist() == [time for part in parts for time in part]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 6}, r"features\.seen\.length: is 6, and the earlier run has the latest 5 events of a user"),
        ({"delay": 1}, r"features\.seen\.delay: is 1.0, was 0.0"),
        ({"where": "click == 0"}, r"features\.seen\.where: is 'click == 0', was 'click == 1'"),
    ],
)
def test_histories_that_yesterday_s_events_do_not_fit_are_refused(tmp_path, options, message):
    first = data(day(3, 0, 40, 3), tmp_path, None, length=5)
    with pytest.raises(MtlError, match=message):
        data(day(3, 1, 40, 3), tmp_path, first, **{"length": 5, **options}).prepare()


def test_a_run_without_latest_events_is_refused(tmp_path):
    first = data(day(3, 0, 40, 3), tmp_path, None, length=5)
    first.prepared.transforms.latest = {}
    with pytest.raises(MtlError, match=r"features\.seen: is a history, and the earlier run.* has no events of it"):
        data(day(3, 1, 40, 3), tmp_path, first, length=5).prepare()


def test_events_of_files_are_continued_too(tmp_path):
    events = [{"user": "a", "time": time, "item": f"i{time % 3}", "click": 1} for time in range(0, 60, 3)]
    rows = [{"user": "a", "time": 5 * n, "item": "i0", "click": n % 2, "row": n} for n in range(12)]
    parts = {"early": [e for e in events if e["time"] < 33], "late": [e for e in events if e["time"] >= 24]}
    for name, part in {**parts, "all": events}.items():
        pq.write_table(pa.Table.from_pylist(part), tmp_path / f"{name}.parquet")

    def built_from(name, log, base):
        return data(log, tmp_path, base, length=4, **{"from": {"path": str(tmp_path / f"{name}.parquet")}})

    first = built_from("early", rows[:6], None)
    second = built_from("late", rows[6:], first)
    assert built(second) == definition(events, rows[6:], 4, 0, second)
    assert [len(steps) for steps in built(second).values()] == [4] * 6
