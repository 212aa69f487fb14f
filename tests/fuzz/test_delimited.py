"""Delimited files of every form against Python's own csv module, value by value."""

import csv
import io
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mtl_lightning.data.readers import csv_blocks
from mtl_lightning.data.readers.csv_types import MISSING_TEXT
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError

SHORT = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(SHORT, max_examples=2500)
TOKENS = ["25e83726", "1e3", "1000", "007", "+4915", "1.50", "7", " 7", "7.0", "NA", "null", "nan", "\\N", "true", "—"]
PIECES = ['"', '""', "'", ",", ";", "\t", "|", "\x01", "\\", "\n", "\r\n", " ", "x", "é", "日", '12" mix', '"Heroes']
CELLS = st.one_of(st.sampled_from(TOKENS), st.lists(st.sampled_from([*PIECES, *TOKENS]), max_size=4).map("".join))


class Form(NamedTuple):
    """A form of a file, in the words of the csv module and of the source."""

    separator: str
    quote: str | None
    escape: str | None
    encoding: str
    end: str
    block: int

    @property
    def python(self) -> dict[str, Any]:
        quoting = csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL
        return {
            "delimiter": self.separator,
            "quotechar": self.quote,
            "escapechar": self.escape,
            "quoting": quoting,
            "lineterminator": self.end,
        }

    @property
    def options(self) -> dict[str, Any]:
        return {"separator": self.separator, "quote": self.quote, "escape": self.escape, "encoding": self.encoding}


FORMS = st.builds(
    Form,
    separator=st.sampled_from([",", ";", "\t", "|", "\x01"]),
    quote=st.sampled_from(['"', '"', "'", None]),
    escape=st.sampled_from([None, None, "\\"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.sampled_from([48, csv_blocks.BLOCK]),
)


def read(data: bytes, form: Form) -> tuple[list[str], list[list[str | None]]]:
    """Names and rows as the source reads them, all columns as text."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(csv_blocks, "BLOCK", form.block):
        path = Path(folder) / "log.csv"
        path.write_bytes(data)
        with mock.patch.dict("os.environ", {"MTL_CACHE": folder}):
            source = Table(path=str(path), **form.options)
            header = list(source.schema().columns)
            source.as_text(header)
            table = pa.concat_tables(source.rows().tables(header))
    assert table.column_names == header
    return header, [list(row.values()) for row in table.to_pylist()]


def try_read(data: bytes, form: Form) -> tuple[list[str], list[list[str | None]]] | None:
    """The same, or None where the source refuses; a row that is longer than a small block is read in a large one."""
    try:
        return read(data, form)
    except DataError as error:
        if "MiB" in str(error):
            return try_read(data, form._replace(block=csv_blocks.BLOCK))
        event(str(error).partition("log.csv")[2][:25] or f"a refusal without a file: {error}")
        return None


def known(row: list[str]) -> list[str | None]:
    return [None if value in MISSING_TEXT else value for value in row]


def python_rows(text: str, form: Form) -> list[list[str]] | None:
    """Rows of the csv module, in which a quoted value must end where a value ends; None where it refuses.

    A last row whose end is escaped is a row: the strict module misses its end, though it sees the ends of other rows.
    """
    if form.escape and re.search(r"(?<!\\)(?:\\\\)*\\(?:\r?\n|\r)\Z", text):
        text += "\n"
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True, **form.python) if row]
    except csv.Error:
        return None


def check_written(form: Form, width: int, cells: list[str], every: bool, last: bool) -> None:
    """Files that Python writes are read as they were."""
    rows = [cells[start : start + width] for start in range(0, len(cells) - width + 1, width)]
    names = [f"c{number}" for number in range(width)]
    quoting = csv.QUOTE_ALL if every and form.quote else form.python["quoting"]
    buffer = io.StringIO(newline="")
    try:
        csv.writer(buffer, **{**form.python, "quoting": quoting}).writerows([names, *rows])
    except csv.Error:  # without quotes and escapes some values can't be written
        return
    text = buffer.getvalue() if last else buffer.getvalue().removesuffix(form.end)
    if python_rows(text, form) != [names, *rows]:  # Python doesn't read all that it writes
        event("not read by Python")
        return
    result = try_read(text.encode(form.encoding), form)
    if rows:
        assert result == (names, [known(row) for row in rows])
    else:
        assert result is None


def check_mangled(form: Form, lines: list[list[str]]) -> None:
    """Any text is read as Python reads it, or refused where Python's rows are ragged or its strict reader refuses."""
    text = form.end.join(form.separator.join(line) for line in lines)
    rows = python_rows(text, form)
    result = try_read(text.encode(form.encoding), form)
    if rows is None or len(rows) < 2 or len({*map(len, rows)}) > 1 or len({*rows[0]}) < len(rows[0]):
        assert result is None
    elif result is None:  # the header shows another form
        assert len(rows[0]) == 1 or all(name[:1] == name[-1:] == '"' for name in rows[0])
    else:
        assert result == (rows[0], [known(row) for row in rows[1:]])


WRITTEN = given(FORMS, st.integers(1, 4), st.lists(CELLS, min_size=1, max_size=24), st.booleans(), st.booleans())
RAW = st.one_of(st.sampled_from(["", "a", '"a"', '"a""b"', '"a\nb"', '"a,b"', 'a\\"b', '"a\\"b"']), CELLS)
LINES = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(RAW, min_size=width, max_size=width), min_size=1, max_size=12)
)
HEADED = LINES.map(lambda lines: [[f"c{number}" for number in range(len(lines[0]))], *lines])
MANGLED = given(FORMS, st.one_of(LINES, HEADED, HEADED))


@SHORT
@WRITTEN
def test_written_files(form: Form, width: int, cells: list[str], every: bool, last: bool) -> None:
    check_written(form, width, cells, every, last)


@SHORT
@MANGLED
def test_mangled_files(form: Form, lines: list[list[str]]) -> None:
    check_mangled(form, lines)


@pytest.mark.slow
@LONG
@WRITTEN
def test_many_written_files(form: Form, width: int, cells: list[str], every: bool, last: bool) -> None:
    check_written(form, width, cells, every, last)


@pytest.mark.slow
@LONG
@MANGLED
def test_many_mangled_files(form: Form, lines: list[list[str]]) -> None:
    check_mangled(form, lines)
