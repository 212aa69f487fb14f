"""Expressions of features: files of all formats and requests give the same values, equal to values by Python."""

import csv
import datetime as dt
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.sources.table import Table

WORDS = ["drama", "Red dress", "ä", "日本", "war  film", "x,y", "007b"]
EPOCH = dt.datetime(1970, 1, 1)


def price_ratio(row):
    price, mean = row["price"], row["mean"]
    return None if price is None or mean in (None, -1) else price / (mean + 1)


def time_of(row):
    return None if row["time"] is None else EPOCH + dt.timedelta(seconds=row["time"])


FEATURES = {
    "ratio": ("numeric", "price / (mean + 1)", price_ratio),
    "age": ("numeric", "(time(now) - time(time)) / 3600", lambda row: row["time"] and (10**9 - row["time"]) / 3600),
    "hour": ("categorical", "hour(time)", lambda row: time_of(row) and time_of(row).hour),
    "weekday": ("categorical", "weekday(time)", lambda row: time_of(row) and time_of(row).weekday()),
    "day": ("hashed", "day(time)", lambda row: time_of(row) and time_of(row).day),
    "month": ("categorical", "month(time)", lambda row: time_of(row) and time_of(row).month),
    "length": ("categorical", "length(title)", lambda row: row["title"] and len(row["title"])),
    "member": ("categorical", "title in ['drama', '日本']", lambda row: row["title"] and row["title"] in WORDS[0:4:3]),
    "cheap": ("categorical", "price < 2.5", lambda row: None if row["price"] is None else row["price"] < 2.5),
    "new": ("hashed", "not seen", lambda row: None if row["seen"] is None else not row["seen"]),
    "words": ("text", "lower(title)", lambda row: row["title"] and row["title"].lower()),
}
OPTIONS = {"numeric": {"transform": "none", "missing": -77.0}, "text": {"length": 4}}


@st.composite
def rows(draw):
    """Rows with and without missing values; the first have all values, so that formats agree on the types."""
    row = st.fixed_dictionaries(
        {
            "price": st.none() | st.integers(-40, 400).map(lambda number: number / 8 + 0.0625),
            "mean": st.none() | st.integers(-2, 5),
            "title": st.none() | st.sampled_from(WORDS),
            "seen": st.none() | st.booleans(),
            "time": st.none() | st.integers(1, 2 * 10**9),
        }
    )
    full = {"price": 1.5, "mean": 2, "title": "war", "seen": True, "time": 86_399}
    return [{**full, "price": index + 0.25} for index in range(4)] + draw(st.lists(row, min_size=8, max_size=20))


def table_of(rows, moments):
    """Rows as a table, with the times as text (ISO 8601) or as timestamps."""
    kind = pa.timestamp("s") if moments else pa.string()
    times = [None if row["time"] is None else EPOCH + dt.timedelta(seconds=row["time"]) for row in rows]
    texts = [time if time is None or moments else time.isoformat() for time in times]
    now = EPOCH + dt.timedelta(seconds=10**9)
    columns = {
        "price": pa.array([row["price"] for row in rows], pa.float64()),
        "mean": pa.array([row["mean"] for row in rows], pa.int64()),
        "title": pa.array([row["title"] for row in rows], pa.string()),
        "seen": pa.array([row["seen"] for row in rows], pa.bool_()),
        "time": pa.array(texts, kind),
        "now": pa.array([now if moments else now.isoformat()] * len(rows), kind),
        "click": [index % 2 for index in range(len(rows))],
        "split": ["train"] * len(rows),
    }
    return pa.table(columns)


def write(table, path):
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(table.column_names)
            for row in table.to_pylist():
                writer.writerow(["" if value is None else value for value in row.values()])


def prepare(path, tmp):
    features = {
        name: {"kind": kind, "expression": text, **OPTIONS.get(kind, {})} for name, (kind, text, _) in FEATURES.items()
    }
    module = DataModule(Table(path=str(path)), features=features, tasks={"click": "binary"},
                        split={"by": "given", "column": "split"}, cache_dir=tmp)  # fmt: skip
    return module.prepared


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=rows(), moments=st.booleans())
def test_all_formats_and_requests_have_the_values_of_python(rows, moments):
    expected = None
    text = table_of(rows, moments=False)
    with tempfile.TemporaryDirectory() as tmp:
        for name in ("log.parquet", "log.jsonl", "log.csv"):
            write(table_of(rows, moments) if name == "log.parquet" else text, Path(tmp) / name)
            prepared = prepare(Path(tmp) / name, tmp)
            batch = prepared.stores["train"].batch(slice(0, len(rows)))
            parts = {"ids": batch.ids.numpy(), "dense": batch.dense.numpy(), "words": batch.sequences["words"].numpy()}
            expected = parts if expected is None else expected
            request = {column: text[column].to_pylist() for column in text.column_names}
            encoder = RowEncoder(prepared.transforms)
            together = encoder.encode(request, len(rows))
            alone = [encoder.encode({key: [row[key]] for key in row}, 1) for row in text.to_pylist()[3:9]]
            for part, values in expected.items():
                key = "sequence/words" if part == "words" else part
                np.testing.assert_array_equal(parts[part], values, err_msg=f"{name} {part}")
                np.testing.assert_array_equal(together[key], values, err_msg=f"request, fitted on {name}: {part}")
                np.testing.assert_array_equal(np.concatenate([row[key] for row in alone]), values[3:9])
    schema = prepared.transforms.schema
    for name, (kind, _, python) in FEATURES.items():
        values = [python(row) for row in rows]
        if kind == "numeric":
            numbers = [-77.0 if value is None else value for value in values]
            np.testing.assert_allclose(expected["dense"][:, schema.dense_columns[name]], numbers, rtol=1e-6)
        elif kind != "text":
            ids = expected["ids"][:, schema.id_columns[name]].tolist()
            assert [number == 0 for number in ids] == [value is None for value in values]
            pairs = set(zip(values, ids, strict=True))  # equal values have equal ids, and others have others
            assert len(pairs) == len({value for value, _ in pairs})
            assert kind == "hashed" or len(pairs) == len({number for _, number in pairs})
