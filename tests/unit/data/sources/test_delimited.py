"""Shared parts of loaders of raw logs: delimited files with located errors, tables that are looked up by key."""

import gzip
import re
import shutil

import pyarrow as pa
import pytest
import raw_logs

from mtl_lightning.data.sources.delimited import Form, read_table
from mtl_lightning.data.sources.side_table import SideTable
from mtl_lightning.errors import DataError
from mtl_lightning.plugins import registry

pytestmark = pytest.mark.usefixtures("cache")


FORM = Form(columns={"a": pa.int64(), "b": pa.string()})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,x\n2\n", "line 3 has 1 values where 2"),
        (b"a,b\n1,x\nmany,y\n", r"line 3, column 1: not int64: .*many"),
        (b"a,c\n1,x\n", "'b'"),
        (b"", "is empty"),
        (b"a,b\n1,\xff\n", "toy.csv"),
    ],
)
def test_damaged_file_is_named_with_the_line(tmp_path, content, message):
    path = tmp_path / "toy.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_table(path, FORM)
    assert "toy.csv" in str(error.value)


HARM = {
    "cut short": lambda line: line[:1],
    "too long": lambda line: line + b",1,2,3\t4::5",
    "no numbers": lambda line: re.sub(rb"[0-9]+", b"many", line),
}
"""Defects of a line."""

TEXTS = ("news.tsv",)
"""Files without a column of numbers."""


@pytest.mark.parametrize("form", sorted(raw_logs.WRITERS))
@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_line_of_any_raw_file_is_named(tmp_path, form, harm):
    name, options = raw_logs.LOADERS.get(form, (form, {}))
    kind = registry().resolve("source", name)
    log = kind(path=str(raw_logs.written(form)), **options)
    plain = [path for path in log.files() if path.suffix not in (".parquet", ".gz", ".zip")]
    for path in plain:
        place = path.relative_to(raw_logs.written(form))
        lines = path.read_bytes().split(b"\n")
        line = min(4, len(lines) - 1)
        lines[line - 1] = HARM[harm](lines[line - 1])
        copied = tmp_path / str(place).replace("/", "-")
        shutil.copytree(raw_logs.written(form), copied)
        (copied / place).write_bytes(b"\n".join(lines))
        if harm == "no numbers" and place.name in TEXTS:
            assert len(kind(path=str(copied), **options).rows()) > 0
            continue
        with pytest.raises(DataError, match=rf"{place.name}: line {line}\b"):
            kind(path=str(copied), **options).rows()


@pytest.mark.parametrize("form", sorted(raw_logs.WRITERS))
def test_files_that_are_cut_off_empty_or_of_another_kind_are_named(tmp_path, form):
    name, options = raw_logs.LOADERS.get(form, (form, {}))
    kind = registry().resolve("source", name)
    for path in kind(path=str(raw_logs.written(form)), **options).files():
        place = path.relative_to(raw_logs.written(form))
        packed = path.suffix in (".parquet", ".gz", ".zip")
        content = path.read_bytes()
        for number, harmed in enumerate((b"", b"\x00\xff\xfe\x01 no log\n" * 50, content[: len(content) // 2])):
            if number == 2 and not packed:
                continue  # half of a text file is a text file, but for its last line
            copied = tmp_path / f"{number}-{place}".replace("/", "-")
            shutil.copytree(raw_logs.written(form), copied)
            (copied / place).write_bytes(harmed)
            with pytest.raises(DataError, match=place.name):
                kind(path=str(copied), **options).rows()


def test_truncated_archives_are_named(tmp_path):
    packed = gzip.compress(b"a,b\n" + b"1,x\n" * 9_000)
    (tmp_path / "toy.csv.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "toy.csv.zip").write_bytes(b"PK\x03\x04 and no more")
    for name in ("toy.csv.gz", "toy.csv.zip"):
        with pytest.raises(DataError, match=name):
            read_table(tmp_path / name, FORM)


@pytest.mark.parametrize("kind", [pa.int64(), pa.string()])
def test_side_table_finds_rows_in_any_file_and_order(kind, monkeypatch):
    monkeypatch.setattr("mtl_lightning.data.cache.arrow_tables.ROWS_PER_FILE", 3)
    schema = pa.schema([("key", kind), ("value", pa.list_(pa.int64()))])
    keys = pa.array([7, 3, 9, 1, 4, 8, 2]).cast(kind)
    values = [[n] for n in (70, 30, 90, 10, 40, 80, 20)]
    batches = [pa.record_batch([keys.slice(n, 2), values[n : n + 2]], schema=schema) for n in range(0, 7, 2)]
    side = SideTable("toy", schema, "key", lambda: batches, "toy.csv")
    assert len(side) == 7
    wanted = pa.array([2, None, 7, 5, 2, 1], pa.int64()).cast(kind)
    assert side.take(wanted)["value"].to_pylist() == [[20], None, [70], None, [20], [10]]
    assert side.take(wanted.slice(0, 0)).num_rows == 0
    empty = SideTable("none", schema, "key", list, "toy.csv")
    assert empty.take(wanted)["value"].to_pylist() == [None] * 6
