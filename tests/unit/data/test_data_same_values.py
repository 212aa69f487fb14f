"""A value is the same from every file, in every type, in training and in a request."""

import json
import os
import subprocess
import sys
import threading
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from warm_python import warm_python

from mtl_lightning.batch import WITHOUT_GROUP, Target
from mtl_lightning.compare.statistics import Rows, draws
from mtl_lightning.config import validate
from mtl_lightning.data.arrow.hashing import group_numbers
from mtl_lightning.data.arrow.keys import keys
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.features.vocabulary import Vocabulary
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.split import SplitSpec, assign
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.sources.raw_log import RawLog, declare
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError
from mtl_lightning.losses.groups import grouped_mean
from mtl_lightning.plugins import registry
from mtl_lightning.predictions.predictor import Predictor
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.schema import Task

pytestmark = pytest.mark.usefixtures("cache")


def fitted(features, table):
    transforms = Transforms(build_features(features), ())
    transforms.fit([table])
    return transforms


def column_of(path, name, **options):
    return [row[name] for row in Table(path=str(path), **options).rows()]


def served(transforms, name, values):
    return RowEncoder(transforms).encode({name: values}, len(values))["ids"][:, 0].tolist()


@pytest.mark.parametrize("feature", ["categorical", {"kind": "hashed", "size": 10**6}, {"kind": "buckets", "count": 7}])
def test_floats_of_32_bits_are_the_numbers_that_they_print(feature):
    values = [round(n / 100, 2) for n in range(100)]
    table = pa.table({"x": pa.array(values * 3, pa.float32())})
    transforms = fitted({"x": feature}, table)
    trained = transforms.encode(table).ids[:100, 0].tolist()
    assert served(transforms, "x", values) == trained
    assert transforms.encode(pa.table({"x": values})).ids[:, 0].tolist() == trained


@pytest.mark.parametrize("feature", ["categorical", {"kind": "hashed", "size": 10**6}])
def test_truth_values_are_their_text_and_empty_text_is_missing(feature, tmp_path):
    text = {"x": ["True", "FALSE", "", "true", "False", "TRUE", "yes"], "y": ["a"] * 7}
    truths = {"x": [True, False, None, True, False, True], "y": ["a"] * 6}
    for transforms in (fitted({"x": feature}, pa.table(text)), fitted({"x": feature}, pa.table(truths))):
        as_text, as_truths = (transforms.encode(pa.table(item)).ids[:, 0].tolist() for item in (text, truths))
        assert as_text[:6] == as_truths
        assert as_truths[2] == 0
        assert as_truths[0] == as_truths[3] == as_truths[5] != as_truths[1] == as_truths[4]
        coded = pa.table({"x": pa.array(text["x"]).dictionary_encode(), "y": text["y"]})
        assert transforms.encode(coded).ids[:, 0].tolist() == as_text
        assert served(transforms, "x", truths["x"]) == as_truths
        assert served(transforms, "x", text["x"]) == as_text


def test_vocabularies_of_before_are_read_by_todays_spelling():
    old = Vocabulary.from_dict({"text": True, "keys": ["True", "TRUE", "x", "FALSE", ""]})
    assert old.size == 5 + 2
    assert old.ids(pa.array(["true", "false", "x"])).tolist() == [2, 5, 4]
    assert len(set(old.keys.to_pylist())) == 5


def test_decimals_are_numbers():
    assert keys(pa.array([Decimal("7.00"), Decimal("-3.00"), None])).to_pylist() == [7, -3, None]
    assert keys(pa.array([Decimal("7.00"), Decimal("8.50")])).to_pylist() == ["7", "8.5"]
    assert keys(pa.array([Decimal("100.00"), Decimal("20.10")])).to_pylist() == ["100", "20.1"]
    large = [9007199254740992, 9007199254740993]
    transforms = fitted({"x": {"kind": "hashed", "size": 10**6}}, pa.table({"x": [Decimal(item) for item in large]}))
    first, second = transforms.encode(pa.table({"x": [Decimal(item) for item in large]})).ids[:, 0].tolist()
    assert first != second
    assert served(transforms, "x", large) == [first, second]


def test_times_are_equal_in_every_unit():
    stamps = [pd.Timestamp("2024-05-01 12:00:00")]
    printed = {keys(pa.array(stamps, pa.timestamp(unit)))[0].as_py() for unit in ("s", "ms", "us", "ns")}
    assert printed == {"2024-05-01 12:00:00"}


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_ids_beyond_64_bits_are_kept_or_refused(tmp_path, kind):
    ids = [18446744073709551615, 18446744073709551614, 5]
    path = tmp_path / f"log.{kind}"
    if kind == "csv":
        path.write_text("id\n" + "\n".join(map(str, ids)))
        assert column_of(path, "id") == list(map(str, ids))
        return
    path.write_text("\n".join(json.dumps({"id": item}) for item in ids))
    with pytest.raises(DataError, match=r"log.json: line 1: 'id' holds 18446744073709551615"):
        Table(path=str(path)).schema()


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_integers_that_a_float_would_change_stay_as_they_are(tmp_path, kind):
    values = ["9007199254740993", "9007199254740992", "1.5"]
    path = tmp_path / f"log.{kind}"
    if kind == "csv":
        path.write_text("id\n" + "\n".join(values))
        assert column_of(path, "id") == values
        return
    path.write_text("\n".join(f'{{"id": {value}}}' for value in values))
    with pytest.raises(DataError, match=r"line 1: 'id' holds 9007199254740993 among"):
        Table(path=str(path)).schema()
    path.write_text('{"x": 1e300}\n{"x": 2.5}\n')  # large numbers, not ids
    assert column_of(path, "x") == [1e300, 2.5]


def test_dates_in_json_are_the_text_that_they_are(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"d": "2024-05-01", "h": ["2024-05-01"]}, {"d": "2024-05-02", "h": []}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert list(Table(path=str(path)).rows()) == rows


RECIPE = """
extends: base
source: {name: table, path: mon.csv}
features: {version: categorical, price: numeric}
tasks:
  click: {kind: binary, label: click}
trainer: {max_epochs: 1, accelerator: cpu}
"""


def command(tmp_path, *arguments):
    return subprocess.run(
        [warm_python(), "-m", "mtl_lightning", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )


def write(path, versions, rows=240):
    lines = [f"{versions[n % len(versions)]},{n % 5},{n // 7 % 2}" for n in range(rows)]
    path.write_text("version,price,click\n" + "\n".join(lines))


def test_what_was_text_in_training_is_text_ever_after(tmp_path, monkeypatch):
    write(tmp_path / "mon.csv", ["1.10", "1.2", "1.1", "2.0.1"])
    write(tmp_path / "few.csv", ["1.10", "1.1"], 6)
    write(tmp_path / "more.csv", ["1.10", "1.1", "2.0.1"], 6)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    done = command(tmp_path, "fit", "recipe=recipe.yaml", "run.dir=mon")
    assert done.returncode == 0, done.stderr
    for name in ("few", "more"):
        done = command(tmp_path, "predict", "run=mon", f"data={name}.csv", f"out={name}.parquet")
        assert done.returncode == 0, done.stderr
    transforms = Transforms.load(tmp_path / "mon" / "transforms" / "transforms.json")
    known = transforms.encode({"version": ["1.10", "1.1"], "price": [0.0, 0.0]}).ids[:, 0].tolist()
    assert len(set(known)) == 2
    assert min(known) >= 2
    frames = {name: pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("few", "more")}
    assert frames["few"].click[0] == pytest.approx(frames["more"].click[0], abs=1e-7)  # both are 1.10 at price 0
    write(tmp_path / "tue.csv", ["1.10", "3.5"])
    done = command(tmp_path, "fit", "recipe=recipe.yaml", "source.path=tue.csv", "init_from=mon", "run.dir=tue")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "tue" / "warm_start.json").read_text())["features"]["version"]
    assert (report["kept"], report["new"]) == (4, 1)
    # Its own file holds nothing but numbers; "1.10" is text in it all the same.
    known = Transforms.load(tmp_path / "tue" / "transforms" / "transforms.json")
    monkeypatch.chdir(tmp_path)
    config = validate(yaml.safe_load((tmp_path / "tue" / "config.yaml").read_text()))
    result = pa.concat_tables(Predictor.of_run(RunDirectory.open(tmp_path / "tue"), config).rows()[1])
    assert set(result["version"].to_pylist()) == {"1.10", "3.5"}
    assert min(known.encode(result).ids[:, 0].tolist()) >= 2


def test_a_column_can_be_declared_text(tmp_path):
    (tmp_path / "log.csv").write_text("v\n1.10\n1.1\n")
    assert column_of(tmp_path / "log.csv", "v", text=["v"]) == ["1.10", "1.1"]
    assert column_of(tmp_path / "log.csv", "v") == [1.1, 1.1]


def test_a_run_is_not_resumed_with_other_ids(tmp_path):
    versions = ["a", "a", "a", "b", "b", "c"]
    write(tmp_path / "mon.csv", versions)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    assert command(tmp_path, "fit", "recipe=recipe.yaml", "run.dir=run", "split.by=random").returncode == 0
    before = (tmp_path / "run" / "transforms" / "transforms.json").read_bytes()
    write(tmp_path / "mon.csv", [{"a": "c", "b": "a", "c": "b"}[version] for version in versions])
    done = command(tmp_path, "fit", "resume=run", "trainer.max_epochs=2")
    assert done.returncode == 2, done.stdout
    assert "was trained on other data" in done.stderr
    assert (tmp_path / "run" / "transforms" / "transforms.json").read_bytes() == before
    write(tmp_path / "mon.csv", versions)
    assert command(tmp_path, "fit", "resume=run", "trainer.max_epochs=2").returncode == 0


@pytest.mark.parametrize("name", ["compare", "tune"])
def test_runs_on_other_rows_are_not_mixed(tmp_path, name):
    write(tmp_path / "mon.csv", ["a", "b", "c"])
    tasks = "tasks:\n  like: {kind: binary, label: price > 2}"
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("tasks:", tasks))
    options = {
        "compare": ["seeds=1", "confirm=0", "constants=0", "architecture=mmoe", "weighter=sum"],
        "tune": ["trials=1", "space.optimizer.lr=log(1e-4,1e-2)"],
    }[name]
    more = {"compare": ["seeds=2"], "tune": ["trials=2"]}[name]
    first = command(tmp_path, name, "recipe=recipe.yaml", "features.price=null", *options, "out=out")
    assert first.returncode == 0, first.stderr
    text = (tmp_path / "mon.csv").read_text().splitlines()
    changed = [text[0], *(line[:-1] + "1" if n % 5 else line for n, line in enumerate(text[1:]))]
    (tmp_path / "mon.csv").write_text("\n".join(changed))
    done = command(tmp_path, name, "recipe=recipe.yaml", "features.price=null", *options[1:], *more, "out=out")
    assert done.returncode == 2, done.stdout
    assert "holds runs on other data" in done.stderr
    (tmp_path / "mon.csv").write_text("\n".join(text))
    done = command(tmp_path, name, "recipe=recipe.yaml", "features.price=null", *options[1:], *more, "out=out")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "times",
    [
        ["2024-05-01T22:00:00+02:00", "2024-05-01T20:30:00Z", "2024-05-01T21:30:00Z", "2024-05-01T21:59:00Z"],
        ["2024-05-01 10:00:00Z", "2024-05-01 10:00:00.5Z", "2024-05-01 10:00:00.7Z", "2024-05-01 11:00:00Z"],
        ["2024-05-01T01:00:00", "2024-05-01 02:00:00", "2024-05-01T03:00:00", "2024-05-01 23:00:00"],
        ["2024-04", "2024-05-01 00:00:00", "2024-05-01 00:00:00.000000001", "2024-06-01"],
    ],
)
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_text_is_split_by_the_instants_that_it_names(times, turn):
    shuffled = times[turn:] + times[:turn]
    spec = SplitSpec(by="time", column="t", validation=0.25, test=0.25)
    assigned = dict(zip(shuffled, assign(spec, [pa.table({"t": shuffled})]).tolist(), strict=True))
    assert assigned[times[3]] == 2
    assert assigned[times[0]] == 0
    assert [assigned[time] for time in times] == sorted(assigned[time] for time in times)


def test_zones_count_in_utc():
    zoned = pa.array([pd.Timestamp("2024-05-02T04:00:00+08:00")], pa.timestamp("us", "Asia/Shanghai"))
    transforms = fitted({"t": {"kind": "date", "part": "hour"}}, pa.table({"t": zoned}))
    assert transforms.encode(pa.table({"t": zoned})).ids.tolist() == [[22]]
    assert served(transforms, "t", ["2024-05-02T04:00:00+08:00"]) == [22]
    assert Expression("t in ['2024-05-01 20:00']").evaluate(pa.table({"t": zoned})).to_pylist() == [True]


@pytest.mark.parametrize(
    ("text", "columns", "result"),
    [
        ("n ** 0.5 != 1", {"n": [-7, 1, 4]}, [None, False, True]),
        ("is_null(n ** 0.5)", {"n": [-7, 1]}, [True, False]),
        ("coalesce(n ** 0.5, 0.0)", {"n": [-7, 4]}, [0.0, 2.0]),
        ("number(g) != 1", {"g": ["nan", "1", "2"]}, [None, False, True]),
        ("y*10 - y*10 == 0", {"y": [1e308, 1.0]}, [None, True]),
        ("x in [100, 200]", {"x": pa.array([100, 5], pa.int8())}, [True, False]),
        ("u in [-1, 7]", {"u": pa.array([7, 255], pa.uint8())}, [True, False]),
        ("u in [-1, 7]", {"u": pa.array([7, 2**64 - 1], pa.uint64())}, [True, False]),
        ("u - v", {"u": pa.array([1], pa.uint8()), "v": pa.array([2], pa.uint8())}, [-1]),
        ("n == '`x`'", {"n": ["`x`", "x"]}, [True, False]),
        ("`a b` == '`'", {"a b": ["`", "b"]}, [True, False]),
        ("g in ['drama']", {"g": ["drama", "a"]}, [True, False]),
    ],
)
def test_expressions(text, columns, result):
    assert Expression(text).evaluate(pa.table(columns)).to_pylist() == result


@pytest.mark.parametrize("text", ["g in 'drama'", "g in ('drama')", "g in {'drama': 1}"])
def test_text_is_no_list_of_letters(text):
    with pytest.raises(DataError, match="needs a list of constants"):
        Expression(text)
    with pytest.raises(DataError, match="no column '__quoted_0__'"):
        Expression("__quoted_0__ == 1").evaluate(pa.table({"a": [1]}))


def test_lists_and_divided_text_are_alike():
    feature = {"kind": "sequence", "length": 3}
    transforms = fitted({"x": feature}, pa.table({"x": ["a,,b", "c d, e"]}))
    for text, values in (("a,,b", ["a", "", "b"]), ("c d, e", ["c d", " e"])):
        wanted = transforms.encode(pa.table({"x": [text]})).sequences["x"].tolist()
        assert transforms.encode(pa.table({"x": [values]})).sequences["x"].tolist() == wanted
        assert RowEncoder(transforms).encode({"x": [values]}, 1)["sequence/x"].tolist() == wanted


def test_numbers_of_classes_may_be_floats(tmp_path):
    rows = {"a": [1.0, 2.0] * 20, "y": [2.0, 0.0, None, 2.0] * 10}
    data = DataModule.from_frame(
        rows, features={"a": "numeric"}, tasks={"y": {"kind": "multiclass", "label": "y", "classes": 3}},
        split={"by": "random"}, cache_dir=tmp_path,
    )  # fmt: skip
    assert data.schema.task("y").classes == 3
    store = data.prepared.stores["train"]
    assert set(store.parts["labels"][store.parts["mask"][:, 0]].flatten().tolist()) == {0.0, 2.0}


def test_rows_of_nobody_are_ranked_with_no_other():
    group = torch.from_numpy(group_numbers(pa.array([-1, None, 5, None]), "user"))
    assert group.tolist() == [-1, WITHOUT_GROUP, 5, WITHOUT_GROUP]
    assert group_numbers(pa.array(["-1", None, "x"]), "user").tolist()[:2] == [-1, WITHOUT_GROUP]
    task = Task(name="y", kind="binary", label="y")
    gauc = registry().resolve("metric", "gauc")(task)
    users = torch.tensor([7, 7] + [WITHOUT_GROUP] * 4)
    label = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    gauc.update(
        torch.tensor([0.9, 0.2, 0.9, 0.1, 0.8, 0.2]),
        Target(label=label[:, None], mask=torch.ones(6, dtype=torch.bool), group=users),
    )
    assert float(gauc.compute()) == 1.0
    target = Target(label=label[:, None], mask=torch.ones(6, dtype=torch.bool), group=users)
    sizes = grouped_mean(
        "x", torch.zeros(6, 1), target, lambda _score, _label, number: torch.bincount(number)[number] * 1.0
    )
    assert float(sizes) == pytest.approx((2 * 2 + 4) / 6)
    rows = Rows(np.ones(6), np.ones(6), users.numpy())
    assert any(len(set(weights[2:])) > 1 for weights in draws(rows, 10))
    assert all(weights[0] == weights[1] for weights in draws(rows, 10))


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "16-true"])
def test_precisions_that_turn_ids_into_floats_are_refused(tmp_path, precision):
    write(tmp_path / "mon.csv", ["a", "b"])
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    done = command(tmp_path, "fit", "recipe=recipe.yaml", "run.dir=run", f"trainer.precision={precision}")
    assert done.returncode == 2
    assert "trainer.precision" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_damaged_converted_table_is_made_again(tmp_path, damage):
    write(tmp_path / "mon.csv", ["a", "b"])
    assert len(column_of(tmp_path / "mon.csv", "click")) == 240
    (remaining,) = (tmp_path / "cache" / "tables").glob("*/*.parquet")
    remaining.unlink() if damage == "removed" else remaining.write_bytes(remaining.read_bytes()[:-20])
    assert len(column_of(tmp_path / "mon.csv", "click")) == 240


@pytest.mark.parametrize("blocks", [2, 100])
def test_a_full_disk_is_an_error_with_the_place(tmp_path, blocks):
    rng = np.random.default_rng(0)
    write(tmp_path / "mon.csv", [str(item) for item in rng.integers(0, 1 << 40, 20_000)], 20_000)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    arguments = f"{sys.executable} -m mtl_lightning fit recipe=recipe.yaml run.dir=run"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {blocks}; {arguments}"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("rows", "size"), [(2_100_000, 4096), (20_000, 20), (20_000, 200)])
def test_a_full_disk_is_named_in_a_shipped_recipe(tmp_path, rows, size):
    arguments = f"{sys.executable} -m mtl_lightning fit recipe=ads source.rows={rows} run.dir=run"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {size}; {arguments}"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr
    left = [path.name for path in (tmp_path / "cache").rglob("*") if "partial" in path.name]
    assert not left


@pytest.mark.parametrize("make", [lambda path: Table(path=str(path)), lambda path: Log(path)])
def test_a_file_that_changes_is_another_one_though_size_and_time_are_the_same(tmp_path, make):
    path = tmp_path / "log.csv"
    path.write_text("click\n0\n")
    before, report = make(path).fingerprint(), path.stat()
    path.write_text("click\n1\n")
    os.utime(path, ns=(report.st_atime_ns, report.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (report.st_size, report.st_mtime_ns)
    assert make(path).fingerprint() != before


class Log(RawLog):
    name = "log"
    raw, arrow = declare({"click": (pa.int64(), None)}, {})

    def __init__(self, path):
        super().__init__(path=str(path.parent))

    def files(self):
        return [self.find("log.csv")]

    def tables(self, split):
        yield pa.table({"click": [0]})


def test_saved_transforms_are_whole_at_every_moment(tmp_path):
    transforms = fitted({"x": "categorical"}, pa.table({"x": [str(n) for n in range(20_000)]}))
    path = tmp_path / "transforms.json"
    transforms.save(path)
    done = threading.Event()

    def rewrite():
        for _ in range(20):
            transforms.save(path)
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    reads = 0
    while not done.is_set() or not reads:
        assert Transforms.load(path).identity == transforms.identity
        reads += 1
    writer.join()
    assert [item.name for item in tmp_path.iterdir() if "partial" in item.name] == []


def test_numbers_of_sixteen_digits_are_numbers_if_a_float_holds_them(tmp_path):
    (tmp_path / "log.csv").write_text("us,id\n1700000000000001,9007199254740993\n0.5,0.5\n")
    assert column_of(tmp_path / "log.csv", "us") == [1700000000000001.0, 0.5]
    assert column_of(tmp_path / "log.csv", "id") == ["9007199254740993", "0.5"]
