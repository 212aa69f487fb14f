"""Parts of times against Python's datetime, and values that are not times."""

import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.errors import DataError

PARTS = {
    "year": lambda time: time.year,
    "month": lambda time: time.month,
    "day": lambda time: time.day,
    "day_of_year": lambda time: time.timetuple().tm_yday,
    "weekday": lambda time: time.weekday(),
    "hour": lambda time: time.hour,
}


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.none() | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)), min_size=1, max_size=9)
)
def test_parts_are_those_of_python_for_times_text_and_numbers(times):
    times = [time and time.replace(microsecond=0) for time in times]
    epoch = dt.datetime(1970, 1, 1)
    columns = {
        "time": pa.array(times, pa.timestamp("ms")),
        "text": pa.array([time and time.isoformat() for time in times], pa.string()),
        "s": pa.array([time and (time - epoch) // dt.timedelta(seconds=1) for time in times], pa.int64()),
        "us": pa.array([time and (time - epoch) / dt.timedelta(microseconds=1) for time in times], pa.float64()),
    }
    table = pa.table(columns)
    for name, python in PARTS.items():
        expected = [time and python(time) for time in times]
        for column in ("time", "text", "s", 'us, "us"'):
            assert Expression(f"{name}({column})").evaluate(table).to_pylist() == expected, column
    same = Expression("time(text) == time(s)").evaluate(table).to_pylist()
    assert same == [time and True for time in times]


def test_zones_are_converted_to_utc():
    zoned = pa.array([0], pa.timestamp("s", "Asia/Tokyo"))
    table = pa.table({"time": zoned, "text": ["1970-01-01T09:00:00+09:00"]})
    assert Expression("hour(time) + hour(text)").evaluate(table).to_pylist() == [0]


@pytest.mark.parametrize(
    ("text", "message", "row"),
    [
        ("hour(text)", "f: 'hour(text)': 'noon' is not a time in ISO 8601", 1),
        ("hour(number)", "1717171717171 is not a time in s", 2),
        ("hour(truth)", "a truth value where a time is needed", None),
        ("hour(number, 'min')", "the unit of a time is 'min'", None),
        ("hour(number, text)", "the unit of a time is None", None),
    ],
)
def test_other_values_are_refused_with_their_row(text, message, row):
    table = pa.table(
        {"text": [None, "noon", "1970-01-01"], "number": [None, 5, 1_717_171_717_171], "truth": [True, None, False]}
    )
    with pytest.raises(DataError) as caught:
        Expression(text, place="f").evaluate(table)
    assert message in str(caught.value)
    assert (caught.value.index if isinstance(caught.value, RowError) else None) == row
