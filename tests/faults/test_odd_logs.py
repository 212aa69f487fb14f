"""Odd but plausible logs: each trains, or is refused with the place, the reason and a hint, and exit code 2."""

import gzip
import json
import lzma
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = 120
RNG = np.random.default_rng(0)
LOG = {
    "user": [f"u{number}" for number in RNG.integers(0, 20, ROWS)],
    "price": [round(number, 3) for number in RNG.random(ROWS)],
    "day": [1 + row * 10 // ROWS for row in range(ROWS)],
    "click": RNG.integers(0, 2, ROWS).tolist(),
}
MAP = pa.map_(pa.string(), pa.int64())
HOURS = [datetime(2024, 1, 1) + timedelta(hours=row) for row in range(ROWS)]
RECIPE = """
extends: base
features: {user: categorical, price: numeric}
tasks: {click: {kind: binary, label: click}}
encoder: {width: 2}
architecture: {name: shared_bottom, hidden: [4]}
data: {batch_size: 32}
trainer: {max_epochs: 1, accelerator: cpu}
"""
BY_DAY = ("features.day=date", "split={by: time, column: day}")


def text(**changed: Any) -> str:
    """The log as CSV."""
    columns = {**LOG, **changed}
    rows = (",".join(map(str, row)) for row in zip(*columns.values(), strict=True))
    return "\n".join([",".join(columns), *rows]) + "\n"


def lines(*more: str) -> str:
    """The log as JSON lines."""
    return "\n".join([*(json.dumps({name: LOG[name][row] for name in LOG}) for row in range(ROWS)), *more])


def put(path: Path, content: bytes | str | dict[str, Any]) -> None:
    """Write a file, or a parquet table with columns changed (None takes one away)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        columns = {name: column for name, column in {**LOG, **content}.items() if column is not None}
        pq.write_table(pa.table(columns), path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def zstd(content: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content.encode())
    return sink.getvalue().to_pybytes()


def array(values: Any, kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind)


TRAIN: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "byte order mark": ("log.csv", "\ufeff" + text(), ()),
    "mark and quotes": ("log.csv", '\ufeff"user"' + text().removeprefix("user"), ()),
    "lines of DOS": ("log.csv", text().replace("\n", "\r\n"), ()),
    "lines of an old Mac": ("log.csv", text().replace("\n", "\r"), ()),
    "blank lines": ("log.csv", text().replace("\n", "\n\n", 5) + "\n\n", ()),
    "tabs": ("log.tsv", text().replace(",", "\t"), ()),
    "tabs, packed": ("log.tsv.gz", gzip.compress(text().replace(",", "\t").encode()), ()),
    "zstd": ("log.csv.zst", zstd(text()), ()),
    "semicolons": ("log.csv", text().replace(",", ";"), ("source.separator=;",)),
    "another encoding": ("log.csv", text().replace("u1,", "ü1,").encode("latin-1"), ("source.encoding=latin-1",)),
    "two bytes a letter": ("log.csv", text().encode("utf-16"), ("source.encoding=utf-16",)),
    "a line within quotes": ("log.csv", text().replace("u1,", '"u\n1",'), ()),
    "a column without a name": ("log.csv", text().replace("day", "", 1), ()),
    "truth values": ("log.csv", text(click=[item == 1 for item in LOG["click"]]), ()),
    "floats as labels": ("log.csv", text(click=[float(item) for item in LOG["click"]]), ()),
    "numbers beyond integers": ("log.csv", text(user=[str(10**30 + row % 7) for row in range(ROWS)]), ()),
    "ids of two kinds": ("log.csv", text(user=[f"u{row}" if row % 2 else str(row) for row in range(ROWS)]), ()),
    "gaps in numbers": ("log.csv", text(price=["NA" if row % 9 == 0 else str(row / 7) for row in range(ROWS)]), ()),
    "days as text": ("log.csv", text(day=[f"{hour:%Y-%m-%d %H:%M:%S}" for hour in HOURS]), BY_DAY),
    "days as numbers": (
        "log.parquet",
        {"day": [int(f"{hour:%Y%m%d}") for hour in HOURS]},
        ("features.day={kind: date, part: day, format: '%Y%m%d'}", "split={by: time, column: day}"),
    ),
    "a zone": ("log.parquet", {"day": array(HOURS, pa.timestamp("us", "Europe/Berlin"))}, BY_DAY),
    "nanoseconds": ("log.parquet", {"day": array(HOURS, pa.timestamp("ns"))}, BY_DAY),
    "dates": ("log.parquet", {"day": array([hour.date() for hour in HOURS], pa.date32())}, BY_DAY),
    "decimals": ("log.parquet", {"price": [Decimal("1.50") + row for row in range(ROWS)]}, ()),
    "decimal labels": ("log.parquet", {"click": [Decimal(row % 2) for row in range(ROWS)]}, ()),
    "numbers as text": ("log.parquet", {"price": [f" {row / 8} " if row % 5 else "NULL" for row in range(ROWS)]}, ()),
    "dictionaries": (
        "log.parquet",
        {name: array(LOG[name], kind).dictionary_encode() for name, kind in (("user", pa.string()), ("click", None))},
        (),
    ),
    "string views": ("log.parquet", {"user": array(LOG["user"], pa.string_view())}, ()),
    "bytes": ("log.parquet", {"user": [item.encode() for item in LOG["user"]]}, ()),
    "half floats": ("log.parquet", {"price": array(np.arange(ROWS, dtype=np.float16), pa.float16())}, ()),
    "the largest integers": (
        "log.parquet",
        {"user": array([2**64 - 1 - row % 5 for row in range(ROWS)], pa.uint64())},
        (),
    ),
    "nothing but nulls": ("log.parquet", {"user": pa.nulls(ROWS), "price": [float("nan")] * ROWS}, ()),
    "a map that isn't used": (
        "log.parquet",
        {
            "more": array([[("a", 1)]] * ROWS, MAP),
            "span": array(range(ROWS), pa.duration("s")),
        },
        (),
    ),
    "lists of two": (
        "log.parquet",
        {"user": array([[1, row % 5] for row in range(ROWS)], pa.list_(pa.int64(), 2))},
        ("features.user=sequence",),
    ),
    "list views": (
        "log.parquet",
        {"user": array([[f"a{row % 3}"] * (row % 4) for row in range(ROWS)], pa.list_view(pa.string()))},
        ("features.user=sequence",),
    ),
    "lists of views": (
        "log.parquet",
        {"user": array([[f"a{row % 3}"] * (row % 4) for row in range(ROWS)], pa.list_(pa.string_view()))},
        ("features.user=sequence",),
    ),
    "lists as Python prints them": (
        "log.parquet",
        {"day": [f"['a{row % 3}', 'b']" if row % 4 else "[]" for row in range(ROWS)]},
        ("features.day=sequence",),
    ),
    "JSON with a mark": ("log.jsonl", "\ufeff" + lines(), ()),
    "JSON with more at its end": ("log.jsonl", lines('{"user": "a", "price": 1, "click": 0, "extra": {"a": 1}}'), ()),
    "JSON without some": ("log.jsonl", lines('{"user": "a"}'), ()),
}

BY_TIME = ("split={by: time, column: day}",)
REFUSED: dict[str, tuple[str, Any, tuple[str, ...], str]] = {
    "tabs in .csv": ("log.csv", text().replace(",", "\t"), (), r"""(set source.separator="\t")"""),
    "semicolons": ("log.csv", text().replace(",", ";"), (), "(set source.separator=;)"),
    "two bytes a letter": ("log.csv", text().encode("utf-16"), (), "log.csv is UTF-16 (set source.encoding=utf-16)"),
    "no such encoding": ("log.csv", text(), ("source.encoding=klingon",), "source.encoding: 'klingon' is unknown"),
    "a header alone": ("log.csv", "user,price,day,click\n", (), "log.csv: no rows below the header"),
    "nothing": ("log.csv", "\n\n", (), "log.csv is empty"),
    "one row": ("log.csv", "user,price,day,click\nu,1,1,1\n", (), "the label 'click' is 1 in every row"),
    "not packed": ("log.csv.gz", text(), (), "log.csv.gz can't be read"),
    "packed in another way": ("log.csv.xz", lzma.compress(text().encode()), (), "log.csv.xz has no known suffix"),
    "an archive": ("log.csv.zip", b"PK", (), "zip://*.csv::"),
    "one name twice": ("log.csv", text().replace("day", "price", 1), (), "log.csv has several columns called 'price'"),
    "blanks before names": ("log.csv", text().replace(",", ", "), (), "did you mean ' price'?"),
    "an open quote": ("log.csv", text().replace("\nu", '\n"u', 1), (), "log.csv: line"),
    "an open quote in a long file": (
        "log.csv",
        text().replace("\nu", '\n"u', 1) + text().split("\n", 1)[1] * 13_000,
        (),
        "log.csv: line 2: a quoted value begins and does not end within 8 MiB (look for an unclosed quote",
    ),
    **{
        f"negative times, {head}": (
            "log.csv",
            text(),
            ("tasks.dwell={kind: regression, label: day - 3}", f"heads.dwell={head}"),
            "tasks.dwell: the label 'day - 3' is -2 in a row",
        )
        for head in ("cread", "tpm", "d2q", "weighted_logistic", "{name: regression, transform: log1p}")
    },
    "a number with a dash": (
        "log.csv",
        text(price=["-" if row == 7 else "NULL" if row == 3 else str(row) for row in range(ROWS)]),
        ("split.test=0", "split.validation=0"),
        "'price' holds '-', which is not a number in row 7",
    ),
    "days of another order": (
        "log.csv",
        text(day=[f"{hour:%m/%d/%Y}" for hour in HOURS]),
        BY_TIME,
        "'day' holds '01/01/2024' in row 0, which is not a time in ISO 8601",
    ),
    "no day": ("log.parquet", {"day": [None, *LOG["day"][1:]]}, BY_TIME, "no value in row 0"),
    "a record": ("log.parquet", {"user": [{"id": row} for row in range(ROWS)]}, (), "make a column of each"),
    "a map": ("log.parquet", {"user": array([[("a", 1)]] * ROWS, MAP)}, (), "make a column of each"),
    "lists of lists": ("log.parquet", {"user": [[[1]]] * ROWS}, ("features.user=sequence",), "lists of single values"),
    "a condition of words": (
        "log.parquet",
        {},
        ("tasks.click.observed_when=user",),
        "tasks.click.observed_when: 'user' is not a condition",
    ),
    "a name of our own": (
        "log.parquet",
        {"__row__": LOG["user"]},
        ("features.user.column=__row__",),
        "can't be called '__row__' (rename it)",
    ),
    "labels as words": ("log.csv", text(click=["yes", "no"] * (ROWS // 2)), (), 'compare it: click == "yes"'),
    "labels of -1 and 1": ("log.parquet", {"click": [-1, 1] * (ROWS // 2)}, (), "is -1, not 0 or 1 in row"),
    "a list of JSON": ("log.json", "[" + lines().replace("\n", ",") + "]", (), "one object per line is needed"),
    "JSON of two kinds": ("log.jsonl", lines('{"user": {"id": 5}}'), (), f"line {ROWS + 1}: 'user' is "),
}  # fmt: skip


@pytest.fixture
def fit(tmp_path: Path, inside: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs ``fit`` on files of the test's directory, with a cache of its own."""

    def run(path: str, *pairs: str) -> Any:
        monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("COLUMNS", "400")
        (tmp_path / "mine.yaml").write_text(RECIPE)
        return inside("fit", "recipe=mine.yaml", "source=table", f"source.path={path}", "run.dir=run", *pairs)

    return run


@pytest.mark.parametrize("name", TRAIN)
def test_it_trains(tmp_path: Path, fit: Any, name: str) -> None:
    file, content, pairs = TRAIN[name]
    put(tmp_path / file, content)
    result = fit(file, *pairs)
    assert result.returncode == 0, result.stderr
    assert "test/click/auc" in json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]["metrics"]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(tmp_path: Path, fit: Any, name: str) -> None:
    file, content, pairs, report = REFUSED[name]
    put(tmp_path / file, content)
    result = fit(file, *pairs)
    shown = " ".join(result.stderr.split())
    assert result.returncode == 2, shown
    assert "Traceback" not in shown
    assert report in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_folders_that_name_a_column(tmp_path: Path, fit: Any, inside: Any, ending: str) -> None:
    for day, rows in ((2, slice(0, 40)), (10, slice(40, 80)), (11, slice(80, ROWS))):
        part = {name: LOG[name][rows] for name in ("user", "price", "click")}
        path = tmp_path / "log" / f"day={day}" / f"part-0.{ending}"
        put(path, "")
        if ending == "csv":
            put(path, text(**part, day=["a"] * 40).replace(",day", ",other"))
        else:
            pq.write_table(pa.table(part), path)
    put(tmp_path / "log" / "_SUCCESS", "")
    result = fit("log", "features.day=categorical", "split={by: time, column: day, validation: 0.3, test: 0.3}")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert report["test"]["metrics"]["test/click/auc"] is not None
    predicted = inside("predict", "run=run", "out=scores.parquet")
    assert predicted.returncode == 0, predicted.stderr
    assert (
        pq.read_table(tmp_path / "scores.parquet").num_rows == 40
    )  # the eleventh day, which as text is before the second


def test_parts_that_differ(tmp_path: Path, fit: Any) -> None:
    put(tmp_path / "log" / "a.csv", text())
    put(tmp_path / "log" / "b.csv", text(day=["x"] * ROWS).replace("click", "klick", 1))
    shown = fit("log").stderr
    assert "b.csv and log/a.csv have different columns: 'click', 'klick'" in " ".join(shown.split())
    put(tmp_path / "none" / ".hidden", "")
    assert "the directory has no files" in " ".join(fit("none").stderr.split())
