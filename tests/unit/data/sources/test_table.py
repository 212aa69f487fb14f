"""Files of rows: types over whole files, every kind of damage named with its place."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError

pytestmark = pytest.mark.usefixtures("cache")


def read(source: Table, split: str | None = None) -> dict[str, list[Any]]:
    tables = list(source.rows(split).with_format("arrow").iter(batch_size=1000))
    return pa.concat_tables(tables).to_pydict()


def test_types_hold_for_all_rows_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,zip,x,flag,country,note\n1,007,1,true,NA,\n")
    (tmp_path / "b.csv").write_text('id,zip,x,flag,country,note\n9007199254740993,12,1.5,false,FR,"a,\nb"\n')
    source = Table(path=str(tmp_path / "*.csv"))
    assert source.schema().columns == {
        "id": "int64",
        "zip": "string",
        "x": "double",
        "flag": "bool",
        "country": "string",
        "note": "string",
    }
    assert read(source) == {
        "id": [1, 9007199254740993],
        "zip": ["007", "12"],
        "x": [1.0, 1.5],
        "flag": [True, False],
        "country": ["NA", "FR"],
        "note": [None, "a,\nb"],
    }


def test_late_text_turns_a_column_of_numbers_into_text(tmp_path: Path) -> None:
    lines = ["id,n", *(f"{i},{i}" for i in range(300_000)), "x7,NaN"]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    source = Table(path=str(tmp_path / "log.csv"))
    assert source.schema().columns == {"id": "string", "n": "int64"}
    rows = read(source)
    assert rows["id"][-1] == "x7"
    assert rows["n"][-2:] == [299_999, None]


def test_splits_separators_names_and_compression(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("1\ta\n2\tb\n")
    with gzip.open(tmp_path / "test.tsv.gz", "wt") as file:
        file.write("3\tc\n")
    paths = {"train": str(tmp_path / "train.tsv"), "test": [str(tmp_path / "test.tsv.gz")]}
    source = Table(path=paths, names=["id", "x"])
    assert source.schema().splits == ("train", "test")
    assert read(source, "train") == {"id": [1, 2], "x": ["a", "b"]}
    assert read(source, "test") == {"id": [3], "x": ["c"]}
    assert read(source)["id"] == [1, 2, 3]
    (tmp_path / "old.dat").write_bytes("a;né\n1;é\n".encode("latin-1"))
    old = Table(path=str(tmp_path / "old.dat"), format="csv", separator=";", encoding="latin-1")
    assert read(old) == {"a": [1], "né": ["é"]}


def test_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "seen": [1, 2]}\n\n{"id": 2, "x": 0.5}\n')
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": 2.5, "more": "ä"}))
    source = Table(path=str(tmp_path / "*.jsonl"))
    assert read(source) == {
        "id": [1.0, 2.0, 2.5],
        "seen": [[1, 2], None, None],
        "x": [None, 0.5, None],
        "more": [None, None, "ä"],
    }


def test_parquet_with_grown_columns_and_a_directory(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    for number in range(3):
        pq.write_table(pa.table({"id": [number]}), folder / f"{number}.parquet")
    (folder / "_SUCCESS").write_text("")
    assert read(Table(path=str(folder))) == {"id": [0, 1, 2]}
    assert not (cache / "tables").exists()


def test_fsspec_urls(tmp_path: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/log/a.csv", b"id\n1\n")
    assert read(Table(path="memory://log/*.csv")) == {"id": [1]}
    fsspec.filesystem("memory").pipe("/days/day=7/b.csv", b"id\n2\n")
    fsspec.filesystem("memory").pipe("/days/_SUCCESS", b"")
    assert read(Table(path="memory://days")) == {"id": [2], "day": [7]}
    with pytest.raises(DataError, match="no file 'memory://weeks'"):
        Table(path="memory://weeks").schema()
    (tmp_path / "log").mkdir()
    pd.DataFrame({"id": [5]}).to_parquet(tmp_path / "log" / "a.parquet")
    assert read(Table(path=f"file://{tmp_path}/log/a.parquet")) == {"id": [5]}
    assert read(Table(path=f"file://{tmp_path}/log")) == {"id": [5]}


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_folders_name_columns_that_files_have_not(tmp_path: Path, ending: str) -> None:
    for place, row in {"day=10/hour=07": {"id": 1}, "day=9/hour=08": {"id": 2, "hour": 3}}.items():
        path = tmp_path / place / f"part.{ending}"
        path.parent.mkdir(parents=True)
        frame = pd.DataFrame([row if ending == "parquet" else {"id": row["id"]}])
        frame.to_parquet(path) if ending == "parquet" else frame.to_csv(path, index=False)
    log = Table(path={"train": str(tmp_path / "day=10"), "test": str(tmp_path / "day=9")})
    assert log.schema().columns["day"] == "int64"
    assert (read(log, "train")["day"], read(log, "test")["day"]) == ([10], [9])
    # Where a file has the column, what it says counts.
    assert read(log)["hour"] == ([None, 3] if ending == "parquet" else ["07", "08"])
    assert read(Table(path=f"file://{tmp_path}/*/*/*.{ending}"))["day"] == [10, 9]


def test_a_column_of_folders_can_be_all_that_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(5)}), tmp_path / "a.parquet")
    for day in ("2024-05-01", "__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / f"day={day}").mkdir()
        shutil.copy(tmp_path / "a.parquet", tmp_path / f"day={day}" / "b.parquet")
    rows = Table(path=str(tmp_path / "day=*" / "*.parquet")).rows()
    (result,) = {item for table in rows.tables(["day"]) for item in table["day"].to_pylist() if item}
    assert result == "2024-05-01"
    assert [table.num_rows for table in rows.tables(["day"])] == [5, 5]


def test_fingerprint_follows_files_and_options(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id\n1\n")
    first = Table(path=str(path)).fingerprint()
    assert Table(path=str(path)).fingerprint() == first
    assert Table(path=str(path), encoding="latin-1").fingerprint() != first
    path.write_text("id\n12\n")
    assert Table(path=str(path)).fingerprint() != first


def truncated(path: Path) -> None:
    pq.write_table(pa.table({"id": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:-20])


DAMAGE: dict[str, tuple[str, bytes, str]] = {
    "short line": ("log.csv", b"a,b,c\n1,2,3\n4,5\n", "log.csv: line 3 has 2 values where 3 are expected"),
    "long line": ("log.csv", b"a,b\n1,2\n4,5\n6,7,8\n", "log.csv: line 4 has 3 values where 2 are expected"),
    "encoding": ("log.csv", b"a,b\n1,x\n2,caf\xe9\n", "log.csv: line 3, column 'b': the text is not UTF-8"),
    "header's encoding": ("log.csv", b"a,caf\xe9\n1,x\n", "log.csv"),
    "empty csv": ("log.csv", b"", "log.csv is empty"),
    "repeated column": ("log.csv", b"a,a\n1,2\n", "log.csv has several columns called 'a'"),
    "utf-16": ("log.csv", "a,b\n1,ä\n".encode("utf-16"), "log.csv"),
    "cut gzip": ("log.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 5000)[:-30], "log.csv.gz can't be read"),
    "empty parquet": ("log.parquet", b"", "log.parquet can't be read"),
    "no parquet": ("log.parquet", b"a,b\n1,2\n" * 10, "log.parquet can't be read"),
    "no json": ("log.jsonl", b'{"a": 1}\n{"a": 2\n', "log.jsonl: line 2 is not valid JSON"),
    "json list": ("log.jsonl", b'{"a": 1}\n[1]\n', "log.jsonl: line 2 is not a JSON object"),
    "json types": (
        "log.jsonl",
        b'{"a": 1}\n{"a": [2]}\n',
        "log.jsonl: line 2: 'a' is an array, before it was a number",
    ),
    "empty json": ("log.jsonl", b"\n", "log.jsonl is empty"),
    "unknown suffix": ("log.xyz", b"a\n1\n", "log.xyz has no known suffix"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(tmp_path: Path, cache: Path, name: str) -> None:
    file, content, part = DAMAGE[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(Table(path=str(tmp_path / file)))
    assert part in str(caught.value)
    assert not list(cache.glob("tables/*.partial"))


def test_truncated_parquet_is_named(tmp_path: Path) -> None:
    truncated(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet can't be read"):
        Table(path=str(tmp_path / "*.parquet")).schema()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"path": "nothing/*.csv"}, "no file 'nothing/*.csv'"),
        ({"path": "x.csv", "format": "xls"}, "source.format: 'xls' is unknown"),
        ({"path": "x.csv", "separator": "::"}, "'::' is not one character"),
        ({"path": "nowhere://x.csv"}, "can't be reached"),
    ],
)
def test_options_refused(options: dict[str, Any], part: str) -> None:
    with pytest.raises(DataError) as caught:
        Table(**options).schema()
    assert part in str(caught.value)


def test_files_that_differ(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,x\n1,2\n")
    (tmp_path / "b.csv").write_text("id,y\n1,2\n")
    with pytest.raises(DataError, match=r"b\.csv and .*a\.csv have different columns: 'x', 'y'"):
        Table(path=str(tmp_path / "*.csv")).schema()
    pq.write_table(pa.table({"id": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="files of several formats: csv, parquet"):
        Table(path=str(tmp_path / "a.*")).schema()


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtl_lightning.data.readers.json_blocks.BLOCK", 40)


def test_json_lines_are_read_in_blocks(tmp_path: Path, tiny_blocks: None) -> None:
    rows = [{"id": n, "x": n + (0.5 if n == 30 else 0), "when": "2024-05-01T00:00:00", "seen": [n]} for n in range(50)]
    rows[40] |= {"when": "later", "late": "ä" * 60, "none": None}
    text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "a.jsonl").write_text("\ufeff" + text, encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"id": 50, "seen": []}\n')
    source = Table(path=str(tmp_path / "*.jsonl"))
    columns = source.schema().columns
    assert (columns["id"], columns["x"], columns["when"]) == ("int64", "double", "string")
    result = list(source.rows())
    assert [row["id"] for row in result] == list(range(51))
    assert (result[30]["x"], result[40]["late"], result[50]["when"]) == (30.5, "ä" * 60, None)
    assert [row["seen"] for row in result[:3]] == [[0], [1], [2]]


def test_json_types_that_change_between_blocks_are_named(tmp_path: Path, tiny_blocks: None) -> None:
    lines = [json.dumps({"id": n, "note": None}) for n in range(20)]
    lines[12] = json.dumps({"id": [12]})
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"log\.jsonl: line 13: 'id' is"):
        Table(path=str(tmp_path / "log.jsonl")).schema()


def test_columns_that_come_after_the_event_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,click,seconds\n1,0,\n2,1,3.5\n")
    log = Table(path=str(tmp_path / "a.csv"), after_event=["seconds"])
    assert log.schema().after_event == ("seconds",)
    with pytest.raises(DataError, match=r"source\.after_event: no column 'second' \(did you mean 'seconds'"):
        Table(path=str(tmp_path / "a.csv"), after_event=["second"]).schema()
