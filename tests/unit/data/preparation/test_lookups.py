"""Side tables: joined values, keys that are missing or repeated, changed content, saved rows, refusals."""

import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from mtl_lightning.config import compose, validate
from mtl_lightning.data.cache.inventory import entries
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.lookups import Lookup, LookupFiles
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import ConfigError, DataError, MtlError

ITEMS = {
    "item_id": [3, 1, 2],
    "price": pa.array([0.1, None, 2.5], pa.float32()),
    "brand": ["b", "a", None],
    "tags": [["x", "y"], [], ["y"]],
    "image": [[1.0, 2.0], [3.0, 4.0], None],
}
LOG = {"item": [1, 2, 3, 9, None, 3, 2, 1] * 3, "price": [1.0, 2.0] * 12, "click": [0, 1, 1, 0] * 6}
FEATURES = {
    "price": {"kind": "numeric", "column": "items.price", "transform": "none", "missing": -1.0},
    "cents": {"kind": "categorical", "column": "items.price"},
    "brand": {"kind": "categorical", "column": "items.brand"},
    "tags": {"kind": "sequence", "column": "items.tags", "length": 2, "separator": "|"},
    "image": {"kind": "vector", "column": "items.image", "size": 2, "separator": "|"},
    "cheap": {"kind": "categorical", "expression": "`items.price` < price"},
    "both": {"kind": "cross", "of": ["brand", "cheap"]},
}


def write(table: dict, path: Path) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path)
    else:
        rows = pa.table(table).to_pylist()
        text = [[_cell(value) for value in row.values()] for row in rows]
        path.write_text("\n".join(",".join(row) for row in [list(table), *text]) + "\n")
    return str(path)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return "|".join(map(str, value))
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def module(
    tmp_path: Path, suffix: str = ".parquet", items: dict = ITEMS, log: dict = LOG, **lookup: object
) -> DataModule:
    side = {"path": write(items, tmp_path / f"items{suffix}"), "key": "item_id", "on": "item", **lookup}
    return DataModule(
        Table(path=write(log, tmp_path / f"log{suffix}")), features=FEATURES, tasks={"click": "binary"},
        lookup={"items": side},
        cache_dir=tmp_path / "cache",
    )  # fmt: skip


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_rows_files_and_requests_have_the_values_of_the_table(tmp_path, suffix, caplog):
    with caplog.at_level(logging.WARNING):
        prepared = module(tmp_path, suffix).prepared
    assert "data.lookup.items: 3 of 21 rows (14.3%) have a key 'item' that the table lacks" in caplog.text
    assert prepared.summary["lookups"] == {"items": {"rows": 21, "missing": 3}}
    loaded = Transforms.load(prepared.path / "transforms.json")
    rows = {"item": [1, 2, 3, 9, None], "price": [1.0, 3.0, 0.05, 1.0, None]}
    for transforms in (prepared.transforms, loaded):
        assert transforms.columns == ("item", "price", "click")
        batch = transforms.encode(rows)
        assert batch.dense[:, 0].tolist() == pytest.approx([-1, 2.5, 0.1, -1, -1])
        ids = {name: batch.id(name).tolist() for name in ("cents", "brand", "cheap", "both")}
        assert [number == 0 for number in ids["brand"]] == [False, True, False, True, True]
        assert [number == 0 for number in ids["cents"]] == [True, False, False, True, True]
        assert ids["cheap"][0] == 0
        assert 0 != ids["cheap"][1] != ids["cheap"][2] != 0
        assert [number == 0 for number in ids["both"]] == [True, True, False, True, True]
        tags = batch.sequences["tags"].tolist()
        assert [sum(number != 0 for number in row) for row in tags] == [0, 1, 2, 0, 0]
        assert tags[1][0] == tags[2][1]
        assert batch.vectors["image"].tolist() == [[3, 4], [0, 0], [1, 2], [0, 0], [0, 0]]
        for items in (rows["item"], [None if item is None else f"{item}.0" for item in rows["item"]]):
            parts = RowEncoder(transforms).encode({"price": rows["price"], "item": items}, 5)
            assert parts["ids"].tolist() == batch.ids.tolist()
            assert parts["dense"].tolist() == batch.dense.tolist()
            assert parts["sequence/tags"].tolist() == tags
            assert parts["vector/image"].tolist() == batch.vectors["image"].tolist()
        shared = RowEncoder(transforms).encode({"price": [1.0, 3.0], "item": [2]}, 2)
        assert shared["dense"].tolist() == [[2.5], [2.5]]
    assert [entry.kind for entry in entries(tmp_path / "cache")[0] if entry.kind == "prepared"]


def test_ids_expire_by_a_time_of_the_table(tmp_path):
    side = {"path": write({"item_id": [1, 2, 3], "made": [1, 5, 9]}, tmp_path / "items.csv"), "key": "item_id"}
    features = {"item": {"kind": "categorical", "expire": 4, "time": "items.made"}}
    data = DataModule(
        Table(path=write(LOG, tmp_path / "log.csv")), features=features, tasks={"click": "binary"},
        lookup={"items": {**side, "on": "item"}}, cache_dir=tmp_path / "cache",
    )  # fmt: skip
    transforms = data.prepared.transforms
    assert sorted(transforms.transforms["item"].table.vocabulary.keys.to_pylist()) == [2, 3, 9]  # 9 has no time
    assert transforms.encode({"item": [1, 3]}).ids[0].tolist() == [1]


def test_a_changed_table_is_read_again_and_a_changed_file_of_the_run_is_refused(tmp_path):
    first = module(tmp_path).prepared
    options = {"features": FEATURES, "tasks": {"click": "binary"}, "cache_dir": tmp_path / "cache"}
    side = {"path": str(tmp_path / "items.parquet"), "key": "item_id", "on": "item"}
    log = Table(path=str(tmp_path / "log.parquet"))
    assert DataModule(log, lookup={"items": side}, **options).prepared.summary["cached"]
    second = module(tmp_path, items={**ITEMS, "brand": ["b", "c", "d"]}).prepared
    assert second.path != first.path
    assert second.transforms.identity != first.transforms.identity
    file = first.path / "lookup-items.arrow"
    file.write_bytes(file.read_bytes()[:-9] + b"x" * 9)
    with pytest.raises(DataError, match="is not the file that was saved with the transforms"):
        Transforms.load(first.path / "transforms.json")
    file.unlink()
    with pytest.raises(DataError, match="no such file"):
        Transforms.load(first.path / "transforms.json")
    hostile = {**first.transforms.to_dict(), "lookups": {"../x": {"on": "item", "sha256": ""}}}
    with pytest.raises(MtlError, match="not a name for a table"):
        Transforms.from_dict(json.loads(json.dumps(hostile)))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({**ITEMS, "item_id": [3, 1, 3]}, "the key 'item_id' is not unique: 3 is in rows 0 and 2; 1 keys are repeated"),
        ({**ITEMS, "item_id": [3, None, 1]}, "the key 'item_id' is missing in 1 rows, first in row 1"),
        ({**ITEMS, "brand": [{"a": 1}] * 3}, "column 'brand' holds struct"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_joined_are_refused(tmp_path, items, message):
    with pytest.raises(DataError) as caught:
        module(tmp_path, items=items).prepare()
    assert str(caught.value).startswith("data.lookup.items: ")
    assert message in str(caught.value)


def recipe_problems(tmp_path, lookup, **feature):
    write(LOG, tmp_path / "log.parquet")
    write(ITEMS, tmp_path / "items.parquet")
    recipe = {
        "extends": "base",
        "source": {"name": "table", "path": str(tmp_path / "log.parquet"), "after_event": ["price"]},
        "features": {"f": {"kind": "categorical", "column": "items.brand", **feature}},
        "tasks": {"click": {"kind": "binary", "label": "click"}},
        "data": {"lookup": lookup},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    try:
        validate(compose(str(tmp_path / "recipe.yaml"), []).plain)
    except ConfigError as error:
        return "\n".join(str(problem) for problem in error.problems)
    return ""


@pytest.mark.parametrize(
    ("change", "feature", "message"),
    [
        ({}, {}, ""),
        ({"on": None}, {}, "data.lookup.items.on: no column 'item_id' (did you mean 'item'?)"),
        ({"key": "id"}, {}, "data.lookup.items: no column 'id' (known: brand, image, item_id, price, tags)"),
        ({"key": None}, {}, "data.lookup.items.key: expects the name of a column, not None"),
        ({"path": "nowhere.parquet"}, {}, "data.lookup.items.path"),
        ({"sep": "|"}, {}, "data.lookup.items.sep: unknown option of files (known: after_event"),
        ({"on": "price"}, {}, "features.f: leak: 'price' is known only after the event"),
        ({"on": "click"}, {}, "features.f: leak: 'click' is the label of task 'click'"),
        ({}, {"column": "items.brnd"}, "features.f: no column 'items.brnd' (did you mean 'items.brand'?)"),
        ({}, {"column": "items.tags"}, "features.f: 'items.tags' holds list<element: string>, and one value per row"),
    ],
)
def test_recipes_are_refused_with_place_reason_and_hint(tmp_path, change, feature, message):
    lookup = {"path": str(tmp_path / "items.parquet"), "key": "item_id", "on": "item", **change}
    result = recipe_problems(tmp_path, {"items": lookup}, **feature)
    assert message in result if message else result == ""
    assert len(result.splitlines()) <= 1


def test_names_of_tables_are_checked(tmp_path):
    assert "'the items' is not a name for a table" in recipe_problems(
        tmp_path, {"the items": {"path": str(tmp_path / "items.parquet"), "key": "item_id", "on": "item"}}
    )
    with pytest.raises(DataError, match=r"the log has a column 'items\.x' as well"):
        module(tmp_path, log={**LOG, "items.x": [1] * 24}).prepare()
    with pytest.raises(DataError, match=r"data\.lookup\.items: expects a mapping"):
        LookupFiles("items", "items.parquet")


def test_python_refuses_keys_that_leak(tmp_path):
    with pytest.raises(MtlError, match=r"features\.price: reads 'click', of which the label of task 'click' is made"):
        module(tmp_path, on="click").prepare()


def test_a_table_without_rows_and_pickled_tables(tmp_path):
    transforms = module(tmp_path, items={name: pa.array(values)[:0] for name, values in ITEMS.items()})
    assert transforms.prepared.summary["lookups"] == {"items": {"rows": 21, "missing": 21}}
    import pickle

    lookup = Lookup("items", "item")
    lookup.fill(pa.array(["a"]), {"price": pa.array([1.5])})
    again = pickle.loads(pickle.dumps(lookup))
    assert again.join(pa.table({"item": ["a", "b"]}))["items.price"].to_pylist() == [1.5, None]
    assert build_features(FEATURES)["price"].columns("price") == ("items.price",)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("files", [False, True])
def test_events_carry_columns_of_side_tables(tmp_path: Path, suffix: str, files: bool) -> None:
    items = {"code": ["7", "8", "9"], "brand": ["b", "a", "b"], "price": [1.5, 2.5, 4.0]}
    log = {"user": ["u", "v"] * 10, "time": [*range(20)], "item": ["7", "8", "9", None, "5"] * 4, "click": [0, 1] * 10}
    place = {item: row for row, item in enumerate(items["code"])}
    flat = {
        **log,
        **{
            f"flat_{name}": [items[name][place[item]] if item in place else None for item in log["item"]]
            for name in ("brand", "price")
        },
    }
    source = {"from": {"path": write(flat, tmp_path / f"events{suffix}")}} if files else {}
    lookup = {"items": {"path": write(items, tmp_path / f"items{suffix}"), "key": "code", "on": "item"}}

    def module(brand: str, price: str, condition: str) -> DataModule:
        history = {"kind": "history", "by": "user", "time": "time", "of": "item", "where": f"{condition} < 3"}
        history |= {"with": [brand, {price: "none"}], "length": 4, **source}
        return DataModule(
            Table(path=write(flat, tmp_path / f"log{suffix}")), features={"item": "categorical", "seen": history},
            tasks={"click": "binary"}, split={"by": "time", "column": "time"}, lookup=lookup,
            cache_dir=tmp_path / "cache",
        )  # fmt: skip

    joined = module("items.brand", "items.price", "`items.price`").prepared
    wanted = module("flat_brand", "flat_price", "flat_price").prepared
    for split, store in joined.stores.items():
        steps, want = (
            prepared.stores[split].batch(slice(0, len(store))).steps["seen"] for prepared in (joined, wanted)
        )
        assert int(want.length.max()) > 1 or split != "train"
        for part in ("ids", "numbers", "length"):
            assert getattr(steps, part).equal(getattr(want, part)), (split, part)
    events = [{"time": 1, "item": "8"}, {"time": 2, "item": 9}, {"time": 3, "item": 7}, {"time": 4, "item": "5"}]
    row = {"item": ["7"], "time": [20], "seen": [events]}
    flat_values = [("a", 2.5), ("b", 4.0), ("b", 1.5), (None, None)]
    carried = [
        {**event, "flat_brand": brand, "flat_price": price}
        for event, (brand, price) in zip(events, flat_values, strict=True)
    ]
    parts = RowEncoder(Transforms.load(joined.path / "transforms.json")).encode(row, 1)
    same = RowEncoder(wanted.transforms).encode({**row, "seen": [carried]}, 1)
    assert parts["history/seen/length"].tolist() == [2]
    for name, values in same.items():
        assert values.tolist() == parts[name].tolist(), name


def test_events_name_columns_that_a_side_table_has(tmp_path: Path) -> None:
    history = {"kind": "history", "by": "user", "time": "time", "of": "item", "with": ["items.colour"]}
    path = write({"user": [1, 2], "time": [1, 2], "item": [3, 1], "click": [0, 1]}, tmp_path / "log.parquet")
    items = {"path": write(ITEMS, tmp_path / "items.parquet"), "key": "item_id", "on": "item"}
    features, tasks = {"item": "categorical", "seen": history}, {"click": "binary"}
    source, split = Table(path=path), {"by": "random"}
    data = DataModule(source, features=features, tasks=tasks, split=split, lookup={"items": items}, cache_dir=tmp_path)
    with pytest.raises(MtlError, match=r"features\.seen.*'items\.colour'"):
        data.prepare()
    recipe = {"source": {"name": "table", "path": path}, "features": features, "tasks": tasks, "split": split}
    recipe |= {"extends": "base", "data": {"lookup": {"items": items}}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    plain = compose(str(tmp_path / "recipe.yaml"), []).plain
    with pytest.raises(ConfigError, match=r"features\.seen.*'items\.colour'"):
        validate(plain)
