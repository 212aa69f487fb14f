"""Histories of files of their own against their definition, spelled out row by row."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.errors import MtlError

SPLITS = ("train", "validation", "test")
COLUMNS = {"time": "read_at", "item": "article"}


def rows_and_events(seed: int, rows: int, events: int, users: int) -> tuple[dict[str, list], list[tuple]]:
    """A log, and other events (user, time, item, seconds), some of them twice; users and times may be missing."""
    rng = np.random.default_rng(seed)

    def some(count: int, most: int, prefix: str = "") -> list:
        return [None if rng.random() < 0.1 else f"{prefix}{rng.integers(most)}" for _ in range(count)]

    def times(count: int) -> list:
        return [None if value is None else int(value) for value in some(count, 40)]

    log = {"user": some(rows, users, "u"), "time": times(rows), "item": rng.integers(1, 6, rows).tolist()}
    log |= {"click": [row % 2 for row in range(rows)], "row": list(range(rows))}
    listed = list(zip(some(events, users + 1, "u"), times(events), rng.integers(1, 12, events).tolist(), strict=True))
    return log, [(*event, 1.5 * place) for place, event in enumerate([*listed, *listed[: events // 4]])]


def write(events: list[tuple], folder: Path, form: str) -> Path:
    """The events as rows, or as a row per user with parallel lists."""
    user, time, item, seconds = (list(column) for column in zip(*events, strict=True))
    table = pa.table({"user": user, "read_at": pa.array(time, pa.int64()), "article": item, "seconds": seconds})
    path = folder / f"events-{form}.{'parquet' if form == 'lists' else form}"
    if form == "lists":
        by_user: dict[str | None, dict[str, list]] = {}
        for row in table.to_pylist():
            lists = by_user.setdefault(row.pop("user"), {name: [] for name in row})
            for name, value in row.items():
                lists[name].append(value)
        pq.write_table(pa.Table.from_pylist([{"user": name, **lists} for name, lists in by_user.items()]), path)
    elif form == "csv":
        pcsv.write_csv(table, path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    else:
        pq.write_table(table, path)
    return path


def data(log: dict[str, list], path: Path, folder: Path, split: dict | None = None, **options: object) -> DataModule:
    history = {"kind": "history", "by": "user", "time": "time", "of": "item", "with": [{"seconds": "none"}]}
    history |= {"gap": True, "from": {"path": str(path), "columns": COLUMNS}, **options}
    features = {"row": {"kind": "numeric", "transform": "none"}, "item": "categorical", "read": history}
    chosen = split or {"by": "random", "validation": 0.2, "test": 0.2}
    return DataModule.from_frame(log, features=features, tasks={"click": "binary"}, cache_dir=folder, split=chosen)


def built(module: DataModule) -> dict[int, list[tuple]]:
    """Item, gap and seconds of each step, by row."""
    keys = module.prepared.transforms.transforms["item"].table.vocabulary.keys.to_pylist()
    result = {}
    for split in SPLITS:
        for batch in module.loader(split):
            steps = batch.steps["read"]
            for place, row in enumerate(batch.dense[:, 0].long().tolist()):
                carried = (steps.ids[..., 0], steps.gap, steps.numbers[..., 0])
                parts = zip(*(part[place, : int(steps.length[place])].tolist() for part in carried), strict=True)
                result[row] = [(None if code == 1 else int(keys[code - 2]), *rest) for code, *rest in parts]
    return result


def definition(log: dict[str, list], events: list[tuple], length: int, delay: float) -> dict[int, list[tuple]]:
    """The same by the definition: each distinct event of the files once, none of the log."""
    distinct = {event[:3]: event[3] for event in reversed(events)}
    result = {}
    for row, (user, time) in enumerate(zip(log["user"], log["time"], strict=True)):
        seen = [
            (event[1], seconds, event[2])
            for event, seconds in distinct.items()
            if None not in (user, time, event[1]) and event[0] == user and event[1] < time - delay
        ]
        result[row] = [(item, time - at, seconds) for at, seconds, item in sorted(seen)[-length:]]
    return result


def visible(log: dict[str, list], events: list[tuple], train: set[int], delay: float) -> set[int]:
    """Items of events before some training row of their user."""
    return {
        event[2]
        for event in events
        for row in train
        if None not in (event[0], event[1], log["time"][row])
        and (event[0] == log["user"][row] and event[1] < log["time"][row] - delay)
    }


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(12, 60),
    users=st.integers(1, 5),
    length=st.integers(1, 10),
    delay=st.sampled_from([0, 1, 2.5]),
    form=st.sampled_from(["parquet", "lists", "csv", "jsonl"]),
)
def test_histories_of_files_are_the_ones_of_the_definition(tmp_path_factory, seed, rows, users, length, delay, form):
    folder = tmp_path_factory.mktemp("events")
    log, events = rows_and_events(seed, rows, 60, users)
    if form in ("csv", "jsonl"):
        # Times that are missing in all rows of a block, or of a file, have no type.
        events = [event for event in events if event[1] is not None]
    module = data(log, write(events, folder, form), folder, length=length, delay=delay)
    table = module.prepared.transforms.transforms["item"].table
    train = {int(row) for batch in module.loader("train") for row in batch.dense[:, 0]}
    fitted = visible(log, events, train, delay) | {log["item"][row] for row in train}
    assert {int(key) for key in table.vocabulary.keys.to_pylist()} == fitted
    want = definition(log, events, length, delay)
    assert built(module) == {
        row: [(item if item in fitted else None, *rest) for item, *rest in steps] for row, steps in want.items()
    }


def test_events_after_training_change_no_vocabulary_and_no_scale(tmp_path):
    log = {"user": ["a"] * 8 + ["b"] * 2, "time": [*range(8), 8, 9], "item": [1] * 10, "click": [0, 1] * 5}
    log["row"] = list(range(10))
    early = [("a", 0, 2, 1.0), ("a", 3, 3, 5.0)]
    split = {"by": "time", "column": "time", "validation": 0.1, "test": 0.1}
    options = {"with": [{"seconds": "standard"}], "split": split}
    before = data(log, write(early, tmp_path, "parquet"), tmp_path / "cache", **options).prepared
    later = [("a", 7, 4, 900.0), ("b", 1, 5, 70.0), ("c", 1, 6, 80.0)]  # a's last training row is at 7
    (tmp_path / "later").mkdir()
    after = data(log, write([*early, *later], tmp_path / "later", "parquet"), tmp_path / "cache", **options).prepared
    first, second = before.transforms.to_dict()["features"], after.transforms.to_dict()["features"]
    assert [first[name]["fitted"] for name in ("item", "read")] == [second[name]["fitted"] for name in ("item", "read")]
    assert before.transforms.transforms["item"].table.vocabulary.keys.to_pylist() == [1, 2, 3]
    assert before.transforms.transforms["read"].scales["seconds"].mean == 3.0
    assert after.stores["test"].events["read"].parts["ids"][:5, 0].tolist().count(1) == 3  # stored, and unknown
    assert before.path != after.path


def test_a_changed_file_is_prepared_again_and_an_equal_one_is_not(tmp_path):
    log, events = rows_and_events(1, 20, 20, 3)
    path = write(events, tmp_path, "parquet")
    first = data(log, path, tmp_path / "cache").prepared
    assert data(log, path, tmp_path / "cache").prepared.summary["cached"]
    write(events[1:], tmp_path, "parquet")
    again = data(log, path, tmp_path / "cache").prepared
    assert not again.summary["cached"]
    assert again.path != first.path


def test_files_without_rows_give_empty_histories(tmp_path):
    log, events = rows_and_events(2, 20, 20, 3)
    path = write(events, tmp_path, "parquet")
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert set(map(len, built(data(log, path, tmp_path / "cache")).values())) == {0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "none.parquet"}, r"features\.read\.from\.path: .*none\.parquet"),
        ({"columns": {"time": "read"}}, r"features\.read\.from: no column 'read'.*did you mean 'read_at'"),
        ({"columns": {"tme": "read_at"}}, r"from\.columns: 'tme' is not read.*did you mean 'time'"),
        ({"columns": ["read_at"]}, r"from\.columns is \['read_at'\].*a mapping"),
        ({"sepparator": ";"}, r"features\.read\.from\.sepparator: unknown option.*did you mean 'separator'"),
        ({"path": None}, r"features\.read\.from\.path"),
        ({"path": {"train": "events.parquet"}}, r"features\.read\.from\.path: .*no splits"),
        ({"path": "ragged.parquet"}, r"features\.read\.from: 2 of 'read_at' and 1 of 'article' in row 1"),
        ({"path": "dates.parquet"}, r"features\.read\.from: .*'time' holds times where it held numbers"),
        ({"path": "text.parquet"}, r"features\.read\.from: column 'seconds' holds 'long'.* in row 2"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    log, events = rows_and_events(3, 20, 20, 3)
    whole = pq.read_table(write(events, tmp_path, "parquet"))
    lists = {"read_at": [[1], [1, 2]], "article": [[1], [1]], "seconds": [[1.0], [1.0, 2.0]]}
    pq.write_table(pa.table({"user": ["u0", "u1"], **lists}), "ragged.parquet")
    dates = pa.array([20_000] * whole.num_rows, pa.date32())
    pq.write_table(whole.set_column(1, "read_at", dates), "dates.parquet")
    row = {"user": ["u0"] * 3, "read_at": [0] * 3, "article": [1] * 3, "seconds": ["1", "2", "long"]}
    pq.write_table(pa.table(row), "text.parquet")
    log["user"], log["time"] = ["u0"] * 20, [9] * 20
    with pytest.raises(MtlError, match=message):
        data(
            log,
            tmp_path / "unused",
            tmp_path / "cache",
            **{"from": {"path": "events-parquet.parquet", "columns": COLUMNS, **options}},
        ).prepare()
