"""Times in text of any format: what ``strptime`` of Python gives, fractions and offsets included."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning import DataModule
from mtl_lightning.data.arrow.time_formats import COMMON, check_format, parse_times, readable_formats
from mtl_lightning.data.arrow.times import parse_iso, times_of
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.split import SplitSpec, assign
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.quality.inspection import inspect_log
from mtl_lightning.errors import DataError

FORMATS = [
    "%Y-%m-%d %H:%M:%S UTC", "%Y/%m/%d", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%Y%m%d%H%M%S%f",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%d/%b/%Y:%H:%M:%S %z", "%a %b %d %H:%M:%S %z %Y", "%j %Y", "%y%m%d", "%D %T", "100%% %F",
]  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    text_format=st.sampled_from(FORMATS),
    time=st.datetimes(datetime(1970, 1, 1), datetime(2060, 1, 1)),
    offset=st.integers(-14 * 4, 14 * 4),
)
def test_what_python_writes_is_read_as_python_reads_it(text_format: str, time: datetime, offset: int) -> None:
    zoned = time.replace(tzinfo=timezone(timedelta(minutes=15 * offset)))
    text = zoned.strftime(text_format)
    long = text_format.replace("%D", "%m/%d/%y").replace("%T", "%H:%M:%S").replace("%F", "%Y-%m-%d")
    expected = datetime.strptime(text, long)
    expected = expected.astimezone(UTC).replace(tzinfo=None) if expected.tzinfo else expected
    if not 1969 <= expected.year <= 2068:
        return  # %y of Python and of C differ on the century
    assert parse_times(pa.array([text, None]), text_format).to_pylist() == [expected, None]


@pytest.mark.parametrize(
    ("text", "text_format"),
    [
        ("2024-02-30", "%Y-%m-%d"), ("31.04.2024", "%d.%m.%Y"), ("2023-02-29 10:00:00 UTC", "%Y-%m-%d %H:%M:%S UTC"),
        ("2024-05-31 10:00:00 CEST", "%Y-%m-%d %H:%M:%S %Z"), ("2024-05-31x", "%Y-%m-%d"), ("2024-05-31", "%Y/%m/%d"),
        ("2024-13-01", "%Y-%m-%d"), ("24:61", "%H:%M"), ("", "%Y"), ("2024-05-31 10:00:00.", "%Y-%m-%d %H:%M:%S.%f"),
        ("2024-02-31 10:00:00.5", "%Y-%m-%d %H:%M:%S.%f"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_null(text: str, text_format: str) -> None:
    assert parse_times(pa.array([text]), text_format).to_pylist() == [None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-31 13:30:00+00", datetime(2024, 5, 31, 13, 30)),
        ("2024-05-31T13:30:00-05", datetime(2024, 5, 31, 18, 30)),
        ("2024-05-31 13:30:00.25+02", datetime(2024, 5, 31, 11, 30, 0, 250000)),
        ("2024-05-31 13:30:00+0230", datetime(2024, 5, 31, 11, 0)),
    ],
)
def test_offsets_of_whole_hours_are_iso(text: str, expected: datetime) -> None:
    assert parse_iso(pa.array([text])).to_pylist() == [expected]


def test_every_common_format_reads_what_it_writes() -> None:
    time = datetime(2024, 5, 31, 13, 30, 7, 250000, tzinfo=UTC)
    for item in COMMON:
        assert item in readable_formats(time.strftime(item))


TIMES = [f"2024/05/{day:02d}" for day in (4, 1, 3, 2)]


@pytest.mark.parametrize(
    ("values", "text_format"),
    [
        (TIMES, "%Y/%m/%d"),
        ([f"{day}.5.24" for day in (4, 1, 3, 2)], "%d.%m.%y"),
        ([int(day.replace("/", "")) for day in TIMES], "%Y%m%d"),
        ([f"05{day:02d}2024" for day in (4, 1, 3, 2)], "%m%d%Y"),
        ([f"2024-05-01 10:00:00.{at}" for at in (4, 1, 3, 2)], "%Y-%m-%d %H:%M:%S.%f"),
        ([f"2024-05-01 10:00:00 +0{at}00" for at in (1, 4, 2, 3)], "%Y-%m-%d %H:%M:%S %z"),
    ],
)
def test_a_split_takes_a_format(values: list[Any], text_format: str) -> None:
    spec = SplitSpec(by="time", column="t", validation=0.25, test=0.25, format=text_format)
    assert assign(spec, [pa.table({"t": values[:2]}), pa.table({"t": values[2:]})]).tolist() == [2, 0, 1, 0]
    last = SplitSpec(by="last", column="u", time="t", format=text_format)
    assert assign(last, [pa.table({"u": ["a"] * 4, "t": values})]).tolist() == [2, 0, 1, 0]


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("2024-05-31 13:30:00 UTC", "split.format='%Y-%m-%d %H:%M:%S UTC'"),
        ("2024/05/31", "split.format='%Y/%m/%d'"),
        ("05/06/2024", "split.format='%m/%d/%Y' or '%d/%m/%Y'"),
        ("soon", "split.format=…, as in strptime"),
    ],
)
@pytest.mark.parametrize("by", [{"by": "time", "column": "t"}, {"by": "last", "column": "u", "time": "t"}])
def test_a_bad_time_is_named_with_its_row_and_the_format_that_reads_it(
    value: str, advice: str, by: dict[str, str]
) -> None:
    table = pa.table({"u": ["a"] * 3, "t": ["2024-05-01", "2024-05-02", value]})
    with pytest.raises(DataError) as caught:
        assign(SplitSpec(**by), [table])
    assert f"'t' holds '{value}' in row 2" in str(caught.value)
    assert advice in caught.value.hint


def test_a_time_of_another_format_than_said_is_named() -> None:
    with pytest.raises(DataError, match=r"holds '2024-05-02' in row 1, which is not a time in the format '%Y/%m/%d'"):
        assign(SplitSpec(by="time", column="t", format="%Y/%m/%d"), [pa.table({"t": ["2024/05/01", "2024-05-02"]})])


@pytest.mark.parametrize(
    ("text_format", "message"),
    [
        ("%Q", "unknown directive '%Q'"),
        ("YYYY-MM-DD", "has no year"),
        ("%H:%M", "has no year"),
        ("%Y %f %f", "repeats %f"),
    ],
)
def test_formats_that_say_no_time_are_refused(text_format: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^split.format: .*{message}"):
        SplitSpec(by="time", column="t", format=text_format)


def test_a_date_reads_fractions_and_offsets() -> None:
    spec = {"kind": "date", "part": "hour", "format": "%m/%d/%Y %H:%M:%S.%f %z"}
    fitted = Transforms(build_features({"at": spec}), ())
    fitted.fit([pa.table({"at": ["05/31/2024 13:30:00.5 +0200"]})])
    times = ["05/31/2024 13:30:00.123456 +0200", "05/31/2024 23:30:00.1 -0100", None]
    assert fitted.encode(pa.table({"at": times})).ids[:, 0].tolist() == [11 + 2, 0 + 2, 0]
    check_format("%H:%M", "format")  # an hour needs no day
    with pytest.raises(DataError, match="unknown directive '%Q'"):
        build_features({"at": {"kind": "date", "format": "%Q"}})


def test_labels_are_counted_by_days_of_the_format(tmp_path: Path) -> None:
    rows = {
        "t": [f"{1 + i // 20:02d}/05/2024" for i in range(100)],
        "user": ["a", "b"] * 50,
        "click": [0, 1, 1, 0] * 25,
    }
    data = DataModule.from_frame(
        rows, features={"user": "categorical"}, tasks={"click": "binary"}, cache_dir=tmp_path,
        split={"by": "time", "column": "t", "format": "%d/%m/%Y"},
    )  # fmt: skip
    days = inspect_log(data)["days"]["click"]
    assert [day["day"] for day in days] == [f"2024-05-0{day}" for day in range(1, 6)]
    assert {day["known"] for day in days} == {20}


@pytest.mark.parametrize(
    "times",
    [
        ["2024-05-01T10:00:00Z", "2024-05-01T11:00:00"],
        ["2024-05-01 10:00:00+02:00", "2024-05-01"],
        ["2024-05-01T10:00:00+00", "2024-05-02 10:00"],
    ],
)
def test_times_with_a_zone_next_to_times_without_are_refused(times: list[str]) -> None:
    with pytest.raises(DataError, match=r"'ts' has a zone in row 0 \(.*\) and none in row 1") as caught:
        times_of(pa.table({"ts": times}), "ts")
    assert caught.value.hint == "write all times with a zone, or all without"
