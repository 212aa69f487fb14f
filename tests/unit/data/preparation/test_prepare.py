"""Preparation: what is checked, what is cached, what cannot leak, with several processes and with any table."""

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl_lightning.data.cache import code_digest
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.prepare import prepare
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.preparation.split import SplitSpec, assign
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.blocks import read_blocks
from mtl_lightning.data.readers.frames import Frame
from mtl_lightning.data.settings import usual_batch_size
from mtl_lightning.data.sources import table
from mtl_lightning.data.sources.table import Table
from mtl_lightning.data.targets.tasks import build_tasks
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import RawSchema

FEATURES = {"user": "categorical", "price": "numeric", "seen": {"kind": "sequence", "of": "user", "length": 3}}
TASKS = {"click": "binary", "buy": {"kind": "binary", "parents": ["click"], "observed_when": "click == 1"}}


def log(rows: int = 200, seed: int = 0) -> dict[str, list[Any]]:
    random = np.random.default_rng(seed)
    click = random.integers(0, 2, rows)
    users = [f"u{number}" for number in random.integers(0, 20, rows)]
    return {
        "user": users,
        "price": random.normal(5, 2, rows).tolist(),
        "seen": [users[max(0, i - i % 5) : i] for i in range(rows)],
        "click": click.tolist(),
        "buy": (click * random.integers(0, 2, rows)).tolist(),
        "day": np.sort(random.integers(0, 30, rows)).tolist(),
        "oracle": random.random(rows).tolist(),
    }


def run(rows: Any, cache: Path, **options: Any) -> Prepared:
    source = rows if hasattr(rows, "fingerprint") else Frame(rows=rows)
    return prepare(
        source,
        features=build_features(options.pop("features", FEATURES)),
        tasks=build_tasks(options.pop("tasks", TASKS)),
        split=SplitSpec(**options.pop("split", {"by": "time", "column": "day"})),
        cache_dir=cache,
        **options,
    )


def everything(prepared: Prepared) -> dict[str, list[Any]]:
    return {
        f"{split}/{name}": part.tolist()
        for split, store in prepared.stores.items()
        for name, part in store.parts.items()
    }


def test_what_is_stored(tmp_path: Path) -> None:
    rows = log()
    done = run(rows, tmp_path, group="user", raw=["price"])
    assert sum(done.summary["rows"].values()) == 200
    batch = done.stores["test"].batch(slice(0, 4))
    start = 200 - done.summary["rows"]["test"]
    assert batch.raw["price"].tolist() == rows["price"][start : start + 4]
    assert batch.label("click").flatten().tolist() == rows["click"][start : start + 4]
    assert batch.known("buy").tolist() == [bool(click) for click in rows["click"][start : start + 4]]
    assert batch.group is not None
    served = done.encode(
        {name: values[start : start + 4] for name, values in rows.items() if name in ("user", "price", "seen")}
    )
    assert served.ids.equal(batch.ids)
    assert served.dense.equal(batch.dense)
    assert served.sequences["seen"].equal(batch.sequences["seen"])
    assert not served.mask.any()
    click = done.schema.task("click")
    train = rows["click"][: done.summary["rows"]["train"]]
    assert click.mean == pytest.approx(np.mean(train))
    assert click.scale == pytest.approx(np.std(train))
    assert done.summary["label"]["train"]["click"] == pytest.approx(np.mean(train))
    assert done.summary["known"]["train"]["buy"] == sum(train)


def test_forms_of_a_frame_are_equal(tmp_path: Path) -> None:
    rows = log()
    first = everything(run(rows, tmp_path / "a"))
    for number, form in enumerate([pa.table(rows), pd.DataFrame(rows), datasets.Dataset.from_dict(rows)]):
        assert everything(run(form, tmp_path / str(number))) == first


def test_arrow_types_of_every_kind_come_in_a_frame(tmp_path: Path) -> None:
    rows = log()
    expected = everything(run(rows, tmp_path / "a"))
    users, seen = pa.array(rows["user"]), pa.array(rows["seen"])
    encoded = pa.RunEndEncodedArray.from_arrays(pa.array(range(1, 201), pa.int32()), users)
    forms = {
        "user": [users.cast(pa.string_view()), users.cast(pa.binary()), users.dictionary_encode(), encoded],
        "seen": [pa.array(rows["seen"], pa.list_view(pa.string())), seen.cast(pa.large_list(pa.large_string()))],
        "more": [
            pa.array([[("a", 1)]] * 200, pa.map_(pa.string(), pa.int64())),
            pa.array(pd.period_range("2024-01", periods=200, freq="D")),
            pa.array(range(200), pa.duration("s")),
        ],
    }
    some = pa.array([["a", "b"], None, [], ["c", None]], pa.list_view(pa.string())).slice(1)
    assert Frame(rows={"x": some}).rows()["x"][:] == [None, [], ["c", None]]
    for name, arrays in forms.items():
        for place, array in enumerate(arrays):
            cache = tmp_path / f"{name}-{place}"
            assert everything(run(pa.table({**rows, name: array}), cache)) == expected


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns called 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "several columns called '1'"),
        (pa.table([[1], [2]], ["b", "b"]), "several columns called 'b'"),
        ({"a": [1, 2], "b": [1]}, "columns differ in length: 'a' 2, 'b' 1"),
        (np.zeros((2, 2)), "rows can't be read from a ndarray"),
    ],
)
def test_frames_that_are_no_table_are_refused(rows: Any, part: str) -> None:
    with pytest.raises(DataError, match=part):
        Frame(rows=rows)


def test_streams_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(Frame):
        def rows(self, split: str | None = None) -> Any:
            return super().rows(split).to_iterable_dataset(num_shards=3)

    monkeypatch.setattr("mtl_lightning.data.readers.blocks.ROWS", 37)
    sizes = [block.num_rows for block in read_blocks(Stream(rows=log()).rows(), ["user"], "rows")]
    assert len(sizes) > 3
    assert max(sizes) == 37
    expected = everything(run(log(), tmp_path / "a"))
    assert everything(run(Stream(rows=log()), tmp_path / "b")) == expected
    split = {"by": "random", "seed": 3}
    assert everything(run(Stream(rows=log()), tmp_path / "c", split=split)) == everything(
        run(log(), tmp_path / "d", split=split)
    )


@pytest.mark.parametrize("by", ["random", "time", "user"])
def test_test_rows_change_nothing_that_is_fitted(tmp_path: Path, by: str) -> None:
    rows = log()
    column = {"random": None, "time": "day", "user": "user"}[by]
    split = {"by": by, "column": column, "test": 0.3}
    first = run(rows, tmp_path / "a", split=split)
    spec = SplitSpec(**split)
    assigned = assign(spec, [pa.table({name: rows[name] for name in spec.columns})] if spec.columns else [], 200)
    changed = {name: list(values) for name, values in rows.items()}
    for row in np.flatnonzero(assigned > 0):
        changed["price"][row] = 1e6 + row
        changed["seen"][row] = ["never seen"]
        changed["click"][row] = 1 - changed["click"][row]
        if by != "user":
            changed["user"][row] = "new"
    second = run(changed, tmp_path / "b", split=split)
    assert second.transforms.to_dict() == first.transforms.to_dict()
    # The order in which they stand among the others does not matter either.
    if by == "time":
        order = np.argsort(assigned != 2, kind="stable")
        moved = {name: [values[i] for i in order] for name, values in rows.items()}
        assert run(moved, tmp_path / "c", split=split).transforms.to_dict() == first.transforms.to_dict()


EVERY_KIND = FEATURES | {
    "rare": {"kind": "categorical", "column": "user", "min_count": 8, "max_size": 9},
    "amount": {"kind": "numeric", "column": "price", "transform": "log", "missing": "mean"},
    "band": {"kind": "buckets", "column": "price"},
    "both": {"kind": "cross", "of": ["user", "band"], "size": 500},
    "when": {"kind": "date", "column": "day", "part": "hour"},
    "hashed": {"kind": "hashed", "column": "user", "size": 100},
    "words": {"kind": "text", "column": "user"},
    "vector": {"kind": "vector", "column": "pair", "size": 2},
}
EVERY_TASK = TASKS | {
    "worth": {"kind": "regression", "label": "worth"},
    "visits": {"kind": "count", "label": "level"},
    "spend": {"kind": "value", "label": "click * oracle"},
    "who": {"kind": "multiclass", "label": "who"},
    "stars": {"kind": "ordinal", "label": "level"},
    "tags": {"kind": "multilabel", "label": "tags"},
}


@pytest.mark.parametrize("by", ["random", "time", "user", "last", "given"])
def test_no_value_of_a_held_out_row_reaches_any_transform_or_label(tmp_path: Path, by: str) -> None:
    rows = log()
    rows["part"] = ["train" if row < 150 else "validation" if row < 175 else "test" for row in range(200)]
    rows["pair"] = [[price, 1.0] for price in rows["price"]]
    rows["level"] = [row % 4 for row in range(200)]
    rows |= {"worth": rows["price"], "who": rows["user"], "tags": rows["seen"]}
    column = {"random": None, "time": "day", "user": "user", "last": "user", "given": "part"}[by]
    split = {"by": by, "column": column, "test": 0.2, "time": "day" if by == "last" else None}
    first = run(rows, tmp_path / "a", split=split, features=EVERY_KIND, tasks=EVERY_TASK)
    spec = SplitSpec(**split)
    table = pa.table({name: rows[name] for name in spec.columns} if spec.columns else {})
    assigned = (
        np.array([{"train": 0}.get(item, 1) for item in rows["part"]])
        if by == "given"
        else assign(spec, [table] if spec.columns else [], 200)
    )
    held = np.flatnonzero(assigned > 0).tolist()
    assert 10 < len(held) < 120
    odd: dict[str, Any] = {"price": 1e6, "worth": -1e6, "seen": ["new"], "tags": ["new"], "who": "new", "click": 1}
    odd |= {"buy": 1, "oracle": 0.9, "pair": [5e5, -1.0], "level": 9}
    odd |= {} if by in ("user", "last") else {"user": "new"}
    odd |= {} if by in ("time", "last") else {"day": 99}
    changed = {name: list(values) for name, values in rows.items()}
    for row in held:
        for name, value in odd.items():
            changed[name][row] = value
    second = run(changed, tmp_path / "b", split=split, features=EVERY_KIND, tasks=EVERY_TASK)
    assert second.transforms.to_dict() == first.transforms.to_dict()
    assert second.schema == first.schema
    # The transforms do depend on training rows.
    (trained, *_) = np.flatnonzero(assigned == 0).tolist()
    changed["price"][trained] = 1e6
    third = run(changed, tmp_path / "c", split=split, features=EVERY_KIND, tasks=EVERY_TASK)
    assert third.transforms.to_dict() != first.transforms.to_dict()


def test_cached_until_something_changes(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    pd.DataFrame(log()).drop(columns="seen").to_csv(path, index=False)
    features = {"user": "categorical", "price": "numeric"}
    source = Table(path=str(path))
    first = run(source, tmp_path / "cache", features=features)
    assert not first.summary["cached"]
    again = run(Table(path=str(path)), tmp_path / "cache", features=features)
    assert again.summary["cached"]
    assert everything(again) == everything(first)
    assert not run(source, tmp_path / "cache", features={"user": "categorical"}).summary["cached"]
    pd.DataFrame(log(seed=1)).drop(columns="seen").to_csv(path, index=False)
    changed = run(Table(path=str(path)), tmp_path / "cache", features=features)
    assert not changed.summary["cached"]
    assert everything(changed) != everything(first)


def test_other_code_prepares_and_converts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "tables"))
    code, converter = tmp_path / "code", tmp_path / "converter.py"
    shutil.copytree(code_digest.HERE, code)
    for name in ("schema.py", "steps.py", "task_kinds.py"):
        shutil.copy(code_digest.HERE.with_name(name), tmp_path)
    converter.write_text("")
    monkeypatch.setattr(code_digest, "HERE", code)
    monkeypatch.setattr(table, "CODE", [converter])
    pd.DataFrame(log()).drop(columns="seen").to_csv(tmp_path / "log.csv", index=False)

    def cached() -> tuple[bool, int]:
        done = run(Table(path=str(tmp_path / "log.csv")), tmp_path / "cache", features={"user": "categorical"})
        return done.summary["cached"], len(list((tmp_path / "tables" / "tables").glob("*.lock")))

    assert (cached(), cached()) == ((False, 1), (True, 1))
    (code / "features" / "vocabulary.py").write_text("# another one")
    assert (cached(), cached()) == ((False, 1), (True, 1))
    converter.write_text("# another one")
    assert (cached(), cached()) == ((False, 2), (True, 2))


def test_damaged_caches_are_made_again(tmp_path: Path) -> None:
    first = run(log(), tmp_path)
    expected = everything(first)
    assert first.path is not None
    (first.path / "train" / "ids.bin").write_bytes(b"cut")
    assert everything(run(log(), tmp_path)) == expected
    (first.path / "transforms.json").write_text("{")
    assert everything(run(log(), tmp_path)) == expected
    shutil.rmtree(first.path / "test")
    assert everything(run(log(), tmp_path)) == expected
    left = first.path.with_name(first.path.name + ".partial")
    left.mkdir()
    shutil.rmtree(first.path)
    assert everything(run(log(), tmp_path)) == expected
    assert not left.exists()


def _work(cache: str, queue: Any) -> None:
    done = run(log(5_000), Path(cache))
    queue.put((done.summary["cached"], everything(done)["train/ids"][:50]))


def test_processes_prepare_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_work, args=(str(tmp_path), queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    answers = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert sorted(cached for cached, _ in answers) == [False, True]
    assert answers[0][1] == answers[1][1]


def test_failed_preparations_leave_nothing(tmp_path: Path) -> None:
    rows = log()
    rows["price"][150] = float("inf")
    with pytest.raises(DataError):
        run(rows, tmp_path)
    assert [path.name for path in (tmp_path / "prepared").iterdir() if not path.name.endswith(".lock")] == []


def change(name: str, value: Any, rows: slice = slice(None)) -> dict[str, list[Any]]:
    changed = log()
    changed[name][rows] = [value] * len(changed[name][rows])
    return changed


@pytest.mark.parametrize(
    ("rows", "options", "part"),
    [
        (change("click", None), {}, "tasks.click: the label 'click' is unknown in every row of the training split"),
        (
            change("click", 0),
            {"tasks": {"click": "binary"}},
            "tasks.click: the label 'click' is 0 in every row of the tr",
        ),
        (change("click", 2, slice(7, 8)), {}, "the label 'click' is 2, not 0 or 1 in row 7 (split train)"),
        (change("price", float("inf"), slice(3, 4)), {}, "column 'price' is infinite in row 3 (split train)"),
        (change("price", float("-inf"), slice(199, 200)), {}, "column 'price' is infinite in row 199 (split test)"),
        (log(), {"features": {"usr": "categorical"}}, "features.usr: no column 'usr' (did you mean 'user'?)"),
        (log(), {"tasks": {"x": {"kind": "binary", "label": "clik"}}}, "did you mean 'click'?"),
        (log(), {"features": {}, "tasks": {"x": {"kind": "binary", "label": "user"}}}, "is text, not a number"),
        (
            log(),
            {"features": {"click": "numeric"}},
            "features.click: reads 'click', of which the label of task 'click'",
        ),
        (log(), {"group": "usr"}, "group: no column 'usr'"),
        (log(), {"raw": ["seen"]}, "column 'seen' holds list"),
        (log(), {"features": {"seen": "categorical"}}, "use kind: sequence"),
        (log(), {"split": {"by": "given"}}, "the source has no splits of its own"),
        (log(), {"split": {"by": "time", "column": "dya"}}, "split: no column 'dya'"),
        (log(), {"split": {"by": "given", "column": "user"}}, "split: column 'user' holds 'u"),
        (log(), {"tasks": {}}, "nothing to predict"),
        (
            log(),
            {"tasks": {"buy": {"kind": "binary", "sample_weight": "price - 100"}}},
            "'price - 100' is negative in row 0",
        ),
        (log(0), {}, "the training split has no rows"),
        (change("seen", [["a"]], slice(0, 200)), {}, "lists of single values"),
    ],
)
def test_refused_with_the_place(tmp_path: Path, rows: dict[str, list[Any]], options: dict[str, Any], part: str) -> None:
    with pytest.raises(DataError) as caught:
        run(rows, tmp_path, **options)
    assert part in str(caught.value)


def test_sources_own_splits(tmp_path: Path) -> None:
    tables = {"train": log(100), "dev": log(30, 1), "test": log(20, 2)}
    done = run(Frame(rows=tables), tmp_path, split={"by": "given"})
    assert done.summary["rows"] == {"train": 100, "validation": 30, "test": 20}
    del tables["dev"]
    done = run(Frame(rows=tables), tmp_path, split={"by": "given", "validation": 0.2})
    assert done.summary["rows"] == {"train": 80, "validation": 20, "test": 20}
    assert done.stores["test"].batch(slice(0, 20)).label("click").flatten().tolist() == tables["test"]["click"]


def test_oracles_are_never_features(tmp_path: Path) -> None:
    class Simulated(Frame):
        def schema(self) -> RawSchema:
            return RawSchema(columns=super().schema().columns, oracle=("oracle",), after_event=("price",))

    for name in ("oracle", "price"):
        with pytest.raises(DataError, match="known only after the event"):
            run(Simulated(rows=log()), tmp_path, features={name: "numeric"})
    done = run(log(), tmp_path, tasks={"click": {"kind": "binary", "oracle": "oracle"}})
    assert done.schema.raw == ("oracle",)


def test_sample_weights_are_per_task(tmp_path: Path) -> None:
    tasks = {"click": {"kind": "binary", "sample_weight": "day + 1"}, "buy": "binary"}
    done = run(log(), tmp_path, tasks=tasks)
    batch = done.stores["train"].batch(slice(0, 5))
    assert batch.task_weight("click").tolist() == [day + 1 for day in log()["day"][:5]]
    assert batch.task_weight("buy").tolist() == [1] * 5


def test_labels_of_other_kinds(tmp_path: Path) -> None:
    rows = log(400)
    rows |= {
        "brand": [["x", "y", None, "z"][i % 4] for i in range(400)],
        "stars": [[10, 2, None, 9.5][i % 4] for i in range(400)],
        "tags": [["a|b", "", None, "c"][i % 4] for i in range(400)],
        "level": [i % 3 for i in range(400)],
    }
    tasks = {
        "brand": "multiclass",
        "stars": "ordinal",
        "tags": "multilabel",
        "level": {"kind": "multiclass", "classes": 5},
        "visits": {"kind": "count", "label": "day"},
        "spend": {"kind": "value", "label": "day * oracle"},
    }
    done = run(rows, tmp_path, tasks=tasks)
    batch = done.stores["train"].batch(slice(0, 4))
    assert {task.name: task.classes for task in done.schema.tasks} == {
        "brand": 3, "stars": 3, "tags": 3, "level": 5, "visits": 1, "spend": 1,
    }  # fmt: skip
    assert batch.label("brand").flatten().tolist() == [0, 1, 0, 2]
    assert batch.known("brand").tolist() == [True, True, False, True]
    assert batch.label("stars").flatten().tolist() == [2, 0, 0, 1]
    assert batch.label("tags").tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert batch.known("tags").tolist() == [True, True, False, True]
    assert batch.label("level").flatten().tolist() == [0, 1, 2, 0]
    again = Transforms.from_dict(json.loads(json.dumps(done.transforms.to_dict())))
    assert again.labels["brand"].encode(pa.table({"brand": ["z", "new"]}))[1].tolist() == [True, False]


VALUES = st.one_of(st.none(), st.text(max_size=4), st.integers(-(2**70), 2**70), st.booleans(), st.floats())
LABELS = st.sampled_from([0, 1, None])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(VALUES, st.one_of(st.none(), st.floats(width=32)), LABELS, st.text(max_size=5)), max_size=25
    ),
    by=st.sampled_from(["random", "user"]),
)
def test_any_table_is_prepared_or_refused(rows: list[tuple[Any, ...]], by: str, tmp_path_factory: Any) -> None:
    names = ("id", "x", "click", "words")
    frame = pd.DataFrame({name: pd.Series([row[i] for row in rows], dtype=object) for i, name in enumerate(names)})
    frame["key"] = range(len(frame))
    features = {"id": "categorical", "x": "numeric", "words": {"kind": "sequence", "separator": " "}}
    cache = tmp_path_factory.mktemp("cache")
    try:
        split = {"by": by, "column": "key" if by == "user" else None}
        data = DataModule.from_frame(
            frame, features=features, tasks={"click": "binary"}, split=split, batch_size=4, cache_dir=cache
        )
        done = data.prepared
    except DataError as error:
        if not any(part in str(error) for part in ("click", "'x'", "no rows")):
            raise
        return
    assert sum(done.summary["rows"].values()) == len(rows)
    for loader in (
        data.train_dataloader(),
        *(item for item in [data.val_dataloader(), data.test_dataloader()] if item),
    ):
        for batch in loader:
            assert torch.isfinite(batch.dense).all()
            assert torch.isfinite(batch.labels).all()
            assert (batch.ids < done.schema.field("id").size).all()
    shutil.rmtree(cache)


def test_datamodule_takes_what_the_source_suggests(tmp_path: Path) -> None:
    class Suggesting(Frame):
        def schema(self) -> RawSchema:
            columns = super().schema().columns
            return RawSchema(columns=columns, features={"user": "categorical"}, tasks={"click": "binary"}, time="day")

    data = DataModule(Suggesting(rows=log()), cache_dir=tmp_path)
    assert data.split == SplitSpec(by="time", column="day")
    assert [field.name for field in data.schema.fields] == ["user"]
    assert len(data.predict_dataloader()) == 1
    empty = DataModule(Suggesting(rows=log()), split={"validation": 0.0}, cache_dir=tmp_path)
    assert empty.val_dataloader() == []


def test_parquet_columns_of_arrow_types(tmp_path: Path) -> None:
    rows = log()
    table = pa.table(rows)
    table = table.set_column(0, "user", table["user"].cast(pa.large_string()).dictionary_encode())
    table = table.set_column(4, "buy", table["buy"].cast(pa.bool_()))
    table = table.set_column(1, "price", table["price"].cast(pa.decimal128(20, 10), safe=False))
    pq.write_table(table, tmp_path / "log.parquet")
    done = run(Table(path=str(tmp_path / "*.parquet")), tmp_path / "a")
    expected = run(rows, tmp_path / "b")
    assert done.stores["train"].parts["ids"].equal(expected.stores["train"].parts["ids"])
    assert done.stores["train"].parts["labels"].equal(expected.stores["train"].parts["labels"])
    assert torch.allclose(done.stores["train"].parts["dense"], expected.stores["train"].parts["dense"], atol=1e-4)


def test_cold_starts_are_marked(tmp_path: Path) -> None:
    rows = log()
    rows["user"][-3:] = ["new", None, rows["user"][0]]
    rows["user"][0] = "once"
    features = {"user": {"kind": "categorical", "min_count": 3}}
    done = run(rows, tmp_path, features=features, split={"by": "time", "column": "day", "cold": ["user"]})
    assert done.schema.raw == ("new_user",)
    assert done.stores["test"].batch(slice(0, len(done.stores["test"]))).raw["new_user"].tolist()[-3:] == [1, 0, 0]
    assert done.stores["train"].parts["raw/new_user"].sum() == 0
    again = Transforms.from_dict(json.loads(json.dumps(done.transforms.to_dict())))
    served = again.encode({"user": ["once", "x"]})
    assert served.ids.flatten().tolist() == [1, 1]
    assert served.raw["new_user"].tolist() == [0, 1]


def test_files_with_grown_columns_and_other_types_of_text(tmp_path: Path) -> None:
    rows = {name: values for name, values in log().items() if name != "seen"}
    rows["city"] = [None] * 100 + [f"c{i % 7}" for i in range(100)]
    table = pa.table(rows)
    head = table.slice(0, 100).drop_columns(["city"])
    folder = tmp_path / "log"
    folder.mkdir()
    pq.write_table(head.set_column(0, "user", head["user"].cast(pa.large_string())), folder / "a.parquet")
    pq.write_table(table.slice(100), folder / "b.parquet", use_dictionary=False, row_group_size=33)
    features = {"user": "categorical", "city": "categorical", "price": "numeric"}
    split = {"by": "random"}
    done = run(Table(path=str(folder)), tmp_path / "a", features=features, split=split)
    assert everything(done) == everything(run(table, tmp_path / "b", features=features, split=split))


def test_the_size_of_batches_follows_the_training_rows(tmp_path: Path) -> None:
    data = DataModule.from_frame(log(1000), features=FEATURES, tasks=TASKS, batch_size="auto", cache_dir=tmp_path)
    assert [len(batch) for batch in data.train_dataloader()] == [200] * 4
    sizes = [usual_batch_size(rows) for rows in (100_000, 100_001, 200_000, 200_001)]
    assert sizes == [256, 512, 512, 1024]
    with pytest.raises(DataError, match=r"data\.batch_size: expects an integer or 'auto', not 'atuo'"):
        DataModule.from_frame(log(), features=FEATURES, tasks=TASKS, batch_size="atuo")  # type: ignore[arg-type]
