"""Quotes and escapes of CSV files: every row is read, or the line is named."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.quality.line_breaks import line_break_findings
from mtl_lightning.data.quality.profile import profile
from mtl_lightning.data.readers import csv_blocks
from mtl_lightning.data.readers.csv_options import CsvOptions
from mtl_lightning.data.readers.quotes import find_quoted, find_row_starts, find_rows_end
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError

pytestmark = pytest.mark.usefixtures("cache")


def read(source: Table) -> dict[str, list[Any]]:
    return pa.concat_tables(source.rows().with_format("arrow").iter(batch_size=1000)).to_pydict()


def titles(rows: int = 300) -> list[str]:
    """Titles of which one opens a quote and another, much later, holds one."""
    result = [f"title {number}" for number in range(rows)]
    result[9], result[199] = '"Heroes', '12" mix'
    return result


def log(path: Path, separator: str, values: list[str]) -> str:
    lines = [f"{number}{separator}{number % 7}{separator}{value}{separator}1" for number, value in enumerate(values)]
    path.write_text("\n".join([separator.join(["user", "item", "title", "click"]), *lines]) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(("name", "separator"), [("log.tsv", "\t"), ("log.dat", ","), ("log.txt", "\x01")])
def test_logs_that_never_quote_keep_every_row(tmp_path: Path, name: str, separator: str) -> None:
    values = titles()
    values[20], values[21] = '"Weird Al" Yankovic', '"'
    source = Table(path=log(tmp_path / name, separator, values), separator=separator, format="csv")
    assert read(source)["title"] == values


@pytest.mark.parametrize("separator", [",", ";"])
def test_an_open_quote_is_named_with_its_line(tmp_path: Path, separator: str) -> None:
    values = titles()
    path = log(tmp_path / "log.csv", separator, values)
    both = r"log\.csv: line 201: a quoted value that begins in line 11 is followed by text: '\" mix"
    with pytest.raises(DataError, match=both):
        read(Table(path=path, separator=separator))
    assert read(Table(path=path, separator=separator, quote=None))["title"] == values
    values[199] = "mix"
    path = log(tmp_path / "log.csv", separator, values)
    with pytest.raises(DataError, match=r"log\.csv: line 11: a quoted value begins and the file ends within it"):
        read(Table(path=path, separator=separator))


@pytest.mark.parametrize("value", ['"Weird Al" Yankovic', '"a" ', '"a"b"', '""a'])
def test_text_after_a_closing_quote_is_named(tmp_path: Path, value: str) -> None:
    path = log(tmp_path / "log.csv", ",", ["a", value, "c"])
    with pytest.raises(DataError, match=r"log\.csv: line 3: text follows a closing quote"):
        read(Table(path=path))
    assert read(Table(path=path, quote=None))["title"] == ["a", value, "c"]


def test_quotes_that_fit_are_read(tmp_path: Path) -> None:
    written = ['"a,b"', '"a ""b"""', '""', '"a\nb"', '12" mix', 'x "y" z', '"\r\n,"', '""""']
    source = Table(path=log(tmp_path / "log.csv", ",", written))
    assert read(source)["title"] == ["a,b", 'a "b"', None, "a\nb", '12" mix', 'x "y" z', "\r\n,", '"']


def test_escaped_quotes(tmp_path: Path) -> None:
    """Titles of the Book-Crossing files."""
    written = [r'"Peterman Rides Again \"J. Peterman\""', r'"a \"; b"', r'"a\\"', r"plain\;separator"]
    path = log(tmp_path / "BX-Books.csv", ";", written)
    source = Table(path=path, separator=";", escape="\\")
    assert read(source)["title"] == ['Peterman Rides Again "J. Peterman"', 'a "; b', "a\\", "plain;separator"]
    with pytest.raises(DataError, match=r"line 2: text follows a closing quote.*source\.escape"):
        read(Table(path=path, separator=";"))


def test_lines_are_counted_past_line_breaks_and_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('a,b\n\n"1\n2",x\n\n3\n')
    with pytest.raises(DataError, match=r"log\.csv: line 6 has 1 values where 2 are expected"):
        read(Table(path=str(tmp_path / "log.csv")))
    (tmp_path / "log.csv").write_bytes('a,b\n\n"1\n2",x\n\n3,é\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"log\.csv: line 6, column 'b': the text is not UTF-8"):
        read(Table(path=str(tmp_path / "log.csv")))


def test_a_quoted_header_of_an_unquoted_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.tsv").write_text('"user"\t"title"\n"1"\t"a"\n')
    with pytest.raises(DataError, match=r"the names in the header are in quotes \(set source\.quote='\"'"):
        read(Table(path=str(tmp_path / "log.tsv")))
    assert read(Table(path=str(tmp_path / "log.tsv"), quote='"')) == {"user": [1], "title": ["a"]}


@pytest.mark.parametrize("size", [16, 17, 23, 40])
def test_values_go_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK", size)
    values = [f'"{number},""\n"' if number % 3 else f"{number}" for number in range(40)]
    (tmp_path / "log.csv").write_text("title\n" + "\n".join(values))
    expected = [f'{number},"\n' if number % 3 else f"{number}" for number in range(40)]
    assert read(Table(path=str(tmp_path / "log.csv"), text=["title"]))["title"] == expected


def test_types_hold_for_all_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, then truth values; integers, then an id that a float would change."""
    monkeypatch.setattr(csv_blocks, "BLOCK", 40)
    lines = ["a,b", *["1.5,9007199254740993"] * 5, *["true,2.5"] * 5]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    assert Table(path=str(tmp_path / "log.csv")).schema().columns == {"a": "string", "b": "string"}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"separator": "é"}, "source.separator: 'é' is not an ASCII character"),
        ({"separator": "\n"}, "source.separator: '\\n' is not an ASCII character"),
        ({"quote": "«"}, "source.quote: '«' is not an ASCII character"),
        ({"quote": ","}, "source.quote: ',' is also source.separator"),
        ({"escape": "\\\\"}, "source.escape: '\\\\\\\\' is not one character"),
        ({"encoding": "rot13"}, "source.encoding: 'rot13' is not an encoding of text"),
        ({"encoding": "base64"}, "source.encoding: 'base64' is not an encoding of text"),
        ({"encoding": "utf\0"}, "source.encoding: 'utf\\x00' is unknown"),
        ({"decimal": "1"}, "source.decimal: '1' can't separate digits"),
        ({"decimal": ",", "thousands": ","}, "source.thousands: ',' is also source.decimal"),
    ],
)
def test_options_that_cannot_be(options: dict[str, str], part: str) -> None:
    with pytest.raises(DataError) as caught:
        Table(path="log.csv", **options)
    assert part in str(caught.value)


@pytest.mark.parametrize("name", ["log.parquet", "log.jsonl"])
@pytest.mark.parametrize("options", [{"missing": ["?"]}, {"quote": None}, {"decimal": ","}])
def test_options_of_csv_files_are_refused_for_others(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"is for CSV files, and these are (parquet|json)"):
        Table(path=str(tmp_path / name), **options).schema()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("more", "part"), [([], "has 100,000 columns, more than 20,000"), (["c7"], "several columns called 'c7'")]
)
def test_a_header_of_many_columns(tmp_path: Path, more: list[str], part: str) -> None:
    (tmp_path / "log.csv").write_text(",".join([*(f"c{number}" for number in range(100_000)), *more]) + "\n")
    with pytest.raises(DataError, match=part):
        Table(path=str(tmp_path / "log.csv")).schema()


def test_text_that_is_not_of_its_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes("a,b\n1,é\n".encode("gb18030") + b"2,\xff\xff\n")
    with pytest.raises(DataError, match=r"log\.csv: line 3: the text is not gb18030"):
        read(Table(path=str(tmp_path / "log.csv"), encoding="gb18030"))


@pytest.mark.parametrize(
    ("data", "end", "starts"),
    [
        (b"a\nb", 2, [0, 2]),
        (b'a,"\n"\nb', 6, [0, 6]),
        (b'a\n"b\n', 2, [0, 2]),
        (b"a\r\n\r\nb\r\n", 8, [0, 5]),
        (b"a\rb\rc", 4, [0, 2, 4]),
        (b"a\\\nb\n", 5, [0]),
    ],
)
def test_ends_of_rows(data: bytes, end: int, starts: list[int]) -> None:
    quoted = find_quoted(data, CsvOptions(escape="\\"))
    assert find_rows_end(data, quoted) == end
    assert find_row_starts(data, quoted).tolist() == starts


def test_inspect_names_columns_with_line_breaks() -> None:
    result = list(line_break_findings({"title": {"line_breaks": (2, 189)}, "user": {"line_breaks": (0, 0)}}))
    assert [(item.name, item.level, item.reason) for item in result] == [
        ("line_breaks:title", "warning", "2 values of 'title' with line breaks, up to 190 lines long")
    ]


def test_the_profile_counts_line_breaks_of_swallowed_rows(tmp_path: Path) -> None:
    values = titles()
    values[199] = 'mix"'
    source = Table(path=log(tmp_path / "log.csv", ",", values))
    facts = profile(source, source.schema(), (), SplitSpec())["columns"]
    assert facts["title"]["line_breaks"] == [1, 190]
    assert facts["user"]["line_breaks"] == [0, 0]
