"""Values that are compared as they are written stay so: in CSV, too, where a column may look like numbers."""

import json
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from warm_python import warm_python

from mtl_lightning.config import compose, validate
from mtl_lightning.data.arrow.keys import canonical_spelling, keys
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.features.vocabulary import Vocabulary
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.split import SplitSpec, assign
from mtl_lightning.data.preparation.split_reader import SplitReader
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.quality.inspection import inspect_log
from mtl_lightning.data.readers import csv_blocks
from mtl_lightning.data.readers.frames import Frame, as_array
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import ConfigError, DataError
from mtl_lightning.predictions.predictor import Predictor
from mtl_lightning.runs.directory import RunDirectory

pytestmark = pytest.mark.usefixtures("cache")

HEX = ["25e83726", "68e35100", "12e44003", "91736281"]
TOKENS = [HEX, ["1e3", "1000"], ["+4915112345", "+4915112346"], ["1.50", "1.5", "1.500"], ["inf", "1e999", "2"],
          ["7.", "7.5"], ["0x10", "16"], ["1_0", "10"], [".5", "0.5"], ["true", "1", "0"]]  # fmt: skip
ALL = {"by": "random", "validation": 0, "test": 0}


def write(path, columns, rows=120):
    """The same text in a CSV, JSON or parquet file."""
    table = {name: [values[n % len(values)] for n in range(rows)] for name, values in columns.items()}
    table["click"] = [n // 7 % 2 for n in range(rows)]
    lines = list(zip(*table.values(), strict=True))
    if path.suffix == ".csv":
        path.write_text("\n".join([",".join(table), *(",".join(map(str, line)) for line in lines)]))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(table, line, strict=True))) for line in lines))
    else:
        pq.write_table(pa.table(table), path)
    return str(path)


def data(path, features, tasks=None, split=None, **options):
    return DataModule(
        Table(path=path), features=features, tasks=tasks or {"click": "binary"}, split=split or ALL, **options
    )


def known(transforms, name, values):
    return transforms.encode({name: values}).ids[:, 0].tolist()


@pytest.mark.parametrize("values", TOKENS, ids=lambda item: item[0])
@pytest.mark.parametrize("feature", ["categorical", {"kind": "hashed", "size": 10**6}, {"kind": "text"}])
def test_every_format_has_the_same_ids(tmp_path, values, feature):
    stores = {}
    for suffix in ("parquet", "csv", "jsonl"):
        prepared = data(write(tmp_path / f"log.{suffix}", {"x": values}), {"x": feature}).prepare()
        parts = prepared.stores["train"].parts
        stores[suffix] = (parts["ids"] if "sequence/x" not in parts else parts["sequence/x"]).tolist()
        served = RowEncoder(prepared.transforms).encode({"x": values}, len(values))
        assert [list(entry) for entry in (served["sequence/x"] if "sequence/x" in parts else served["ids"])] == (
            stores[suffix][: len(values)]
        )
    assert stores["csv"] == stores["parquet"] == stores["jsonl"]
    if feature == "categorical":
        assert len({entry[0] for entry in stores["csv"]}) == len(values)


cells = st.one_of(
    st.sampled_from([*HEX, "1e3", "1000", "7", "7.0", "07", "-0.0", "0", "+7", "1.50", "1.5", "True", "true", "inf"]),
    st.from_regex(r"[0-9]{1,4}(e[0-9]{1,3}|\.[0-9]{0,3})?", fullmatch=True),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(cells, min_size=1, max_size=6))
def test_random_cells_have_the_same_ids_in_csv_and_as_text(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("log")
    text, typed = (
        data(write(folder / f"log.{suffix}", {"x": values}, 24), {"x": "categorical"}, cache_dir=folder).prepare()
        for suffix in ("parquet", "csv")
    )
    ids = [item.stores["train"].parts["ids"].flatten().tolist() for item in (text, typed)]
    distinct = len({canonical_spelling(value) for value in values})
    # Ids of equal counts are in the order of numbers or of text; which rows are one value is the same.
    assert len(set(zip(*ids, strict=True))) == len(set(ids[0])) == len(set(ids[1])) == distinct
    for transforms, wanted in zip((text.transforms, typed.transforms), ids, strict=True):
        served = RowEncoder(transforms).encode({"x": values}, len(values))["ids"].flatten().tolist()
        assert served == wanted[: len(values)]


RECIPE = """
extends: base
source: {name: table, path: log.csv}
features: {user: categorical}
tasks:
  click: {kind: binary, label: click}
split: {by: random, validation: 0.2, test: 0.2}
trainer: {max_epochs: 10, accelerator: cpu}
data: {batch_size: 32, accept: ["leak:user:click"]}
"""


def command(tmp_path, *arguments):
    done = subprocess.run(
        [warm_python(), "-m", "mtl_lightning", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


def test_ids_that_look_like_numbers_are_told_apart_from_fit_to_predict(tmp_path, monkeypatch):
    users = [HEX[n % 4] for n in range(400)]
    clicks = [int(user in HEX[::2]) for user in users]
    lines = [f"{user},{click}" for user, click in zip(users, clicks, strict=True)]
    (tmp_path / "log.csv").write_text("\n".join(["user,click", *lines]))
    pq.write_table(pa.table({"user": users, "click": clicks}), tmp_path / "log.parquet")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    aucs = []
    for suffix in ("csv", "parquet"):
        command(tmp_path, "fit", "recipe=recipe.yaml", f"source.path=log.{suffix}", f"run.dir={suffix}")
        result = json.loads((tmp_path / suffix / "metrics.json").read_text())
        aucs.append(result["test"]["metrics"]["test/click/auc"])
    assert aucs[0] == pytest.approx(aucs[1], abs=1e-6)
    assert aucs[0] == pytest.approx(1.0, abs=5e-3)
    (tmp_path / "few.csv").write_text("user\n12e44003\n91736281\n")  # alone they are numbers that differ
    command(tmp_path, "predict", "run=csv", "data=few.csv", "out=few.parquet")
    monkeypatch.chdir(tmp_path)
    config = validate(yaml.safe_load((tmp_path / "csv" / "config.yaml").read_text()))
    predictor = Predictor.of_run(RunDirectory.open(tmp_path / "csv"), config)
    few = pa.concat_tables(predictor.rows("few.csv")[1])
    assert few["user"].to_pylist() == ["12e44003", "91736281"]
    assert predictor.transforms.encode(few).ids.min() >= 2
    assert set(pa.concat_tables(predictor.rows()[1])["user"].to_pylist()) == set(HEX)
    liked, other = pq.read_table(tmp_path / "few.parquet")["click"].to_pylist()
    assert liked > other


def test_numbers_stay_numbers(tmp_path):
    path = write(tmp_path / "log.csv", {"price": ["1.50", "2.25", "1e3"], "day": ["1.5"], "n": ["1", "2"]})
    module = data(path, {"price": "numeric", "n": "categorical"}, {"dear": {"kind": "binary", "label": "day * n > 2"}})
    assert module.source.schema().columns == {"price": "double", "day": "double", "n": "int64", "click": "int64"}
    assert module.prepare().transforms.transforms["price"].known_mean == pytest.approx((1.5 + 2.25 + 1000) / 3)


def test_a_column_of_both_uses_is_there_as_written_and_as_numbers(tmp_path):
    path = write(tmp_path / "log.csv", {"price": ["1.50", "1.5", "1e3", ""]})
    features = {"price": "categorical", "amount": {"kind": "numeric", "column": "price", "transform": "none"}}
    dear = {"kind": "binary", "label": "click", "observed_when": "price > 2 or click == 1"}
    tasks = {"click": "binary", "dear": dear}
    module = data(path, features, tasks)
    assert module.source.schema().columns == {"price": "double", "click": "int64"}
    prepared = module.prepare()
    parts = prepared.stores["train"].parts
    assert sorted(prepared.transforms.transforms["price"].table.vocabulary.keys.to_pylist()) == ["1.5", "1.50", "1e3"]
    assert parts["ids"][3, 0] == 0
    assert parts["dense"][:3, 0].tolist() == [1.5, 1.5, 1000.0]
    assert parts["mask"][:4, 1].tolist() == [False, False, True, False]
    again = data(path, features, tasks, {"by": "user", "column": "price"})
    with pytest.raises(DataError, match="the user column 'price' has no value in row 3"):
        again.prepare()


def test_users_groups_and_cold_starts_are_told_apart(tmp_path):
    path = write(tmp_path / "log.csv", {"user": [*HEX, "1e3", "1000"], "x": ["1.5"]})
    spec = SplitSpec(by="user", column="user", validation=0.2, test=0.2, cold=("user",))
    module = data(path, {"x": "numeric"}, split=spec, group="user")
    parts = [store.parts for store in module.prepare().stores.values()]
    groups = [set(part["group"].tolist()) for part in parts]
    assert [len(group) for group in groups] == [4, 1, 1]
    assert len(set.union(*groups)) == 6
    assert [part["raw/new_user"].unique().tolist() for part in parts] == [[0.0], [1.0], [1.0]]
    wanted = assign(spec, [pa.table({"user": [*HEX, "1e3", "1000"] * 20})])
    assert np.array_equal(SplitReader(module.source, spec, ("user",)).assignment, wanted)


def test_the_split_of_users_is_the_same_for_numbers_and_text():
    spec = SplitSpec(by="user", column="u", validation=0.3, test=0.3)
    numbers = assign(spec, [pa.table({"u": [0.0, -0.0, 1.0, 2.0, 3.0, 1.0]})]).tolist()
    assert numbers[0] == numbers[1]
    assert assign(spec, [pa.table({"u": ["0", "-0.0", "1.0", "2", " 3", "1"]})]).tolist() == numbers


def test_classes_by_name_are_what_is_written(tmp_path):
    path = write(tmp_path / "log.csv", {"code": ["1.50", "1.5", "1e3", "1000"], "x": ["1", "2", "3"]})
    module = data(path, {"x": "numeric"}, {"code": {"kind": "multiclass", "label": "code"}})
    assert module.schema.task("code").classes == 4
    given = data(path, {"code": "categorical"}, {"x": {"kind": "multiclass", "label": "x", "classes": 4}})
    assert given.prepare().transforms.labels["x"].vocabulary is None  # numbers of classes are numbers


def check(source, features):
    tasks = {"click": {"kind": "binary", "label": "click"}}
    plain = {**compose("ads").plain, "source": source, "features": features, "tasks": tasks, "split": {"by": "random"}}
    return validate({name: value for name, value in plain.items() if name not in ("heads", "losses", "metrics")})


@pytest.mark.parametrize("values", [["5", "7", ""], [""], ["5.0", ""], ["1.50", "1.5"], ["true", ""]])
def test_sequences_of_one_entry_or_none_are_sequences(tmp_path, values):
    path = write(tmp_path / "log.csv", {"seen": values, "tags": values, "item": ["5", "7"]})
    check({"name": "table", "path": path}, {"seen": {"kind": "sequence", "length": 3}, "item": "categorical"})
    module = data(path, {"seen": {"kind": "sequence", "length": 3}, "item": "categorical"})
    result = module.prepare().stores["train"].parts["sequence/seen"]
    text = DataModule.from_frame(
        {"seen": [values[n % len(values)] for n in range(120)], "click": [n // 7 % 2 for n in range(120)]},
        features={"seen": {"kind": "sequence", "length": 3}}, tasks={"click": "binary"}, split=ALL,
    ).prepare()  # fmt: skip
    assert result.tolist() == text.stores["train"].parts["sequence/seen"].tolist()
    if any(values):
        labels = data(path, {"item": "categorical"}, {"tags": {"kind": "multilabel", "label": "tags"}})
        assert labels.schema.task("tags").classes == len({canonical_spelling(value) for value in values} - {None})


def test_a_sequence_of_integers_in_parquet_is_still_refused(tmp_path):
    pq.write_table(pa.table({"seen": [1, 2] * 20, "click": [0, 1] * 20}), tmp_path / "log.parquet")
    with pytest.raises(ConfigError, match="'seen' holds int64"):
        check({"name": "table", "path": str(tmp_path / "log.parquet")}, {"seen": "sequence"})


def test_dates_with_a_format_read_what_is_written(tmp_path):
    path = write(tmp_path / "log.csv", {"month": ["2024.10", "2024.01"]})
    ids = data(path, {"month": {"kind": "date", "part": "month", "format": "%Y.%m"}}).prepare().stores["train"]
    assert ids.parts["ids"][:2].flatten().tolist() == [9 + 2, 0 + 2]


def test_numbers_that_are_too_large_for_a_float_make_text(tmp_path):
    (tmp_path / "log.csv").write_text("a,b,c\n1e999,inf,1e308\n2,1.5,-Infinity\n")
    assert Table(path=str(tmp_path / "log.csv")).schema().columns == {"a": "string", "b": "double", "c": "double"}


def test_floats_of_whole_numbers_are_integers(tmp_path):
    path = write(tmp_path / "log.csv", {"user": ["7.0", "8.00", "nan", ""], "price": ["7.0", "8.0"]})
    module = data(path, {"user": "categorical", "price": "numeric"})
    assert module.source.schema().columns == {"user": "int64", "price": "double", "click": "int64"}
    assert set(module.prepare().transforms.transforms["user"].table.vocabulary.keys.to_pylist()) == {7, 8}
    floats, integers = ({"user": values, "price": [1, 2]} for values in ([7.0, 8.0], [7, 8]))
    transforms = module.prepared.transforms
    assert transforms.encode(floats).ids.tolist() == transforms.encode(integers).ids.tolist() == [[2], [3]]


@pytest.mark.parametrize(
    ("first", "later", "values"),
    [
        ("900719925474099311", "1.5", ["900719925474099311", "1.5"]),
        ("5", "true", ["5", "true"]),
        ("123456789012345678", "2.0", ["123456789012345678", "2.0"]),
        ("5", "1.5", [5.0, 1.5]),
    ],
)
def test_what_comes_late_is_held_against_what_came_early(tmp_path, monkeypatch, first, later, values):
    monkeypatch.setattr(csv_blocks, "BLOCK", 1 << 12)
    (tmp_path / "log.csv").write_text("x\n" + f"{first}\n" * 3000 + f"{later}\n")
    result = list(Table(path=str(tmp_path / "log.csv")).rows())
    assert [result[0]["x"], result[-1]["x"]] == values
    assert len(result) == 3001


def test_one_conversion_serves_recipes_that_need_the_same_types(tmp_path):
    path = write(tmp_path / "log.csv", {"user": ["a", "b"], "n": ["1", "2"], "price": ["1.50", "2.5"]})
    for features in ({"user": "categorical"}, {"n": "categorical", "price": "numeric"}, {"n": "numeric"}):
        data(path, features).source.schema()
    Table(path=path).schema()
    assert len([item for item in (tmp_path / "cache" / "tables").iterdir() if item.is_dir()]) == 1
    data(path, {"price": "categorical"}).source.schema()
    assert len([item for item in (tmp_path / "cache" / "tables").iterdir() if item.is_dir()]) == 2


def test_runs_of_earlier_versions_read_numbers_as_they_did(tmp_path):
    path = write(tmp_path / "mon.csv", {"version": ["1.50", "2.5"]})
    old = data(path, {"version": "categorical"}).prepare().transforms.to_dict()
    del old["tokens"]
    old["features"]["version"]["fitted"]["keys"] = ["2.5", "1.5"]  # as a float prints
    base = Transforms.from_dict(old)
    assert base.tokens is None
    again = data(path, {"version": "categorical"}, base=base)
    assert again.source.schema().columns["version"] == "double"
    ids = again.prepare().stores["train"].parts["ids"][:2].flatten().tolist()
    assert ids == [3, 2]
    assert again.prepared.transforms.tokens is None
    assert len(again.prepared.transforms.transforms["version"].table.vocabulary.keys) == 2


def test_vocabularies_of_earlier_versions_keep_their_ids():
    old = Vocabulary.from_dict({"text": True, "keys": ["7.0", " a", "b ", "7", "a", "1.50", "True", "x"]})
    assert old.keys.to_pylist()[1:] == [" a", "b", "7", "a", "1.50", "true", "x"]
    assert old.ids(keys(pa.array(["b ", "7", "a", "1.50", "true", "x"]))).tolist() == [4, 5, 6, 7, 8, 9]
    alone = Vocabulary.from_dict({"text": True, "keys": ["7.0", " a", "-0.0"]})
    assert alone.ids(keys(pa.array([" 7", "a", "0"]))).tolist() == [2, 3, 4]
    transforms = Transforms(build_features({"x": "categorical"}), ())
    transforms.fit([pa.table({"x": ["q"]})])
    transforms.transforms["x"].table.vocabulary = old
    values = ["7.0", "7", " a", "a", "b", "TRUE", "1.5", "x ", "", None]
    assert RowEncoder(transforms).encode({"x": values}, len(values))["ids"].flatten().tolist() == (
        known(transforms, "x", values)
    )


@pytest.mark.parametrize("trained", [[7, 0, 8], ["7", "0", "8"], [7.0, -0.0, 8.0], ["7.0", "-0.0", "8.00"]])
def test_blanks_and_zeros_are_no_other_id(trained):
    transforms = Transforms(build_features({"x": "categorical", "h": {"kind": "hashed", "size": 10**6}}), ())
    transforms.fit([pa.table({"x": trained, "h": trained})])
    for values in ([" 7", "0 ", "8\t"], ["7.0", "-0.0", "8.000"], [7.0, -0.0, 8.0], ["7", "-0", "8"], [7, 0, "8"]):
        wanted = transforms.encode({"x": trained, "h": trained}).ids.tolist()
        assert len({item[0] for item in wanted}) == 3
        assert transforms.encode({"x": values, "h": values}).ids.tolist() == wanted
        assert RowEncoder(transforms).encode({"x": values, "h": values}, 3)["ids"].tolist() == wanted


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(alphabet="0123.-e \t\u00a0\u3000aé中TRUEtrue", max_size=5)), max_size=6))
def test_one_value_and_a_column_are_spelled_alike(values):
    assert keys(pa.array(values, pa.string())).to_pylist() == [
        None if value is None else canonical_spelling(value) for value in values
    ]


def test_tensors_are_the_numbers_that_they_hold(tmp_path):
    click = [n % 2 for n in range(30)]
    rows = {"user": torch.tensor([3, 1, 2] * 10), "v": torch.rand(30, 2), "click": list(map(torch.tensor, click))}
    plain = {"user": rows["user"].tolist(), "v": rows["v"].tolist(), "click": click}
    features = {"user": "categorical", "v": {"kind": "vector", "size": 2}}
    stores = [
        DataModule.from_frame(item, features=features, tasks={"click": "binary"}, split=ALL).prepare().stores["train"]
        for item in (rows, plain)
    ]
    for name, part in stores[0].parts.items():
        assert torch.equal(part, stores[1].parts[name]), name
    assert as_array([torch.tensor([1, 2]), None], "h").to_pylist() == [[1, 2], None]
    assert as_array(torch.tensor([1.5, 2.0]).bfloat16().requires_grad_(), "x").to_pylist() == [1.5, 2.0]
    with pytest.raises(DataError, match="column 'x' is a single value"):
        as_array(torch.tensor(3), "x")


MIXED = ['{"u": 7, "h": [1, 2]}\n{"u": "a", "h": ""}\n', '{"u": 7.0, "h": [3]}\n{"u": 1.5, "h": null}\n{"u": "7"}\n']


@pytest.mark.parametrize("parts", [1, 2])
def test_ids_that_are_numbers_and_text_are_one_column(tmp_path, parts):
    texts = ["".join(MIXED)] if parts == 1 else MIXED
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.jsonl").write_text(text)
    rows = list(Table(path=str(tmp_path / "*.jsonl")).rows())
    assert [row["u"] for row in rows] == ["7", "a", "7", "1.5", "7"]
    assert [row["h"] for row in rows] == [[1, 2], None, [3], None, None]


def test_parts_of_integers_and_of_text_are_one_column(tmp_path):
    for number, values in enumerate([[1, 7], ["x", "7"], [7.0, 1.5], [None, None]]):
        pq.write_table(pa.table({"u": values}), tmp_path / f"{number}.parquet")
    rows = [row["u"] for row in Table(path=str(tmp_path / "*.parquet")).rows()]
    assert rows == ["1", "7", "x", "7", "7", "1.5", None, None]
    frame = Frame(rows={"train": {"u": [1, 7]}, "test": {"u": ["x"]}})
    assert [row["u"] for row in frame.rows()] == ["1", "7", "x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"h": [1, "1"]}', "line 1: 'h' holds a string in a list, before it held a number"),
        ('{"h": [1]}\n{"h": "x"}', "line 2: 'h' is a string, before it was an array"),
        ('{"u": 1}\n{"u": true}', "line 2: 'u' is "),
        ('{"u": 7}\n{"u": "a"}\n{bad', "line 3 is not valid JSON"),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(DataError) as caught:
        Table(path=str(tmp_path / "log.jsonl")).schema()
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, "1", None]], "column 'h' mixes numbers (1) and text ('1') in its lists"),
        ([[1], ["a"]], "column 'h' mixes numbers (1) and text ('a') in its lists"),
        ([["a"], [True]], "column 'h' mixes text ('a') and truth values (True) in its lists"),
        ([[1], 2], "column 'h' mixes lists and other values: [1] and 2"),
    ],
)
def test_a_request_that_mixes_types_in_a_list_is_told_which(values, message):
    transforms = Transforms(build_features({"h": "sequence"}), ())
    transforms.fit([pa.table({"h": [[1, 2]]})])
    with pytest.raises(DataError) as caught:
        RowEncoder(transforms).encode({"h": values}, len(values))
    assert caught.value.message == message
    assert RowEncoder(transforms).encode({"h": [[1], ""]}, 2)["sequence/h"][:, 0].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("cells", "separator", "sign"),
    [
        (["Comedy|Drama", "Drama", ""], ",", '"|"'),
        (["1 2 3", "4"], ",", '" "'),
        (["a;b", "c"], "|", '";"'),
        (["a,b", "c|d,e"], ",", None),
        (["Heat", "Toy Story", "Up"], ",", None),
    ],
)
def test_text_of_a_sequence_that_is_not_divided_is_reported(tmp_path, cells, separator, sign):
    rows = {"genres": [cells[n % len(cells)] for n in range(60)], "click": [n % 2 for n in range(60)]}
    module = DataModule.from_frame(
        rows, features={"genres": {"kind": "sequence", "separator": separator}}, tasks={"click": "binary"}, split=ALL
    )
    result = [finding for finding in inspect_log(module)["findings"] if finding["name"] == "unsplit:genres"]
    assert [item["hint"] for item in result] == ([f"features.genres.separator={sign}"] if sign else [])
