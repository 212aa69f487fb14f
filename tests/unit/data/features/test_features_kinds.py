"""The further kinds of features: hashes, buckets, dates, crosses, text, vectors."""

import datetime as dt
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.features.quantiles import Quantiles
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import DataError
from mtl_lightning.plugins.builtin import FEATURES

OPTIONS: dict[str, dict[str, Any]] = {
    "history": {"by": "a", "time": "b", "of": "a", "with": [{"b": "log"}]},
    "vector": {"size": 2},
    "semantic_id": {"size": 2, "clusters": 2},
    "overlap": {"of": ["a", "b"]},
    "preference": {"tasks": ["click", "buy"]},
    "cross": {"of": ["a", "b"]},
}


def fitted(features: dict[str, Any], rows: dict[str, Any]) -> Transforms:
    transforms = Transforms(build_features(features), ())
    transforms.fit([pa.table(rows)])
    return transforms


def ids(transforms: Transforms, rows: dict[str, Any], name: str) -> list[int]:
    return list(transforms.encode(rows).id(name).tolist())


COLUMNS = {
    "buckets": [1.0, 2.0, 5.0, None],
    "categorical": ["a", "b", None, "ä"],
    "date": [0, 3600, None, 10**9],
    "hashed": [7, 8, None, 2**53],
    "history": [[{"b": 0, "a": "x"}], None, [{"b": 1, "a": "y"}, {"b": 2, "a": None}], []],
    "numeric": [1, 2, None, 4],
    "preference": [[0.5, 0.5], None, [1.0, 0.0], [1.0, 3.0]],
    "semantic_id": ["1 2", None, "0 0", "3 4"],
    "sequence": [["a"], None, ["b", "a"], []],
    "text": ["Red dress", None, "", "日本語 text"],
    "vector": ["1 2", None, "0 0", "3 4"],
}


@pytest.mark.parametrize("kind", sorted(FEATURES))
def test_every_kind_survives_json(kind: str) -> None:
    rows = {"a": ["x", "y", "x", None], "b": [1, 2, 3, 4], "f": COLUMNS.get(kind, [1, 2, 3, 4])}
    features = {"a": "categorical", "b": "categorical", "f": {"kind": kind, **OPTIONS.get(kind, {})}}
    transforms = fitted(features, rows)
    again = Transforms.from_dict(json.loads(json.dumps(transforms.to_dict())))
    assert again.schema == transforms.schema
    assert again.to_dict() == transforms.to_dict()
    first, second = transforms.encode(rows), again.encode(rows)
    assert first.ids.equal(second.ids)
    assert first.dense.equal(second.dense)
    for name, steps in first.steps.items():
        assert steps.length.tolist() == [1, 0, 2, 0]
        assert steps.ids.equal(second.steps[name].ids)
        assert steps.numbers.equal(second.steps[name].numbers)
    for name in ("sequences", "vectors"):
        assert {key: part.tolist() for key, part in getattr(first, name).items()} == {
            key: part.tolist() for key, part in getattr(second, name).items()
        }
    for field in transforms.schema.fields:
        if field.kind == "categorical":
            assert int(first.id(field.name).max()) < field.size
        if field.kind == "sequence":
            assert int(first.sequences[field.name].max()) < field.size
    one_by_one = [transforms.encode({name: values[i : i + 1] for name, values in rows.items()}) for i in range(4)]
    assert [batch.ids[0].tolist() for batch in one_by_one] == first.ids.tolist()


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=200), count=st.integers(2, 12))
def test_buckets_hold_equal_shares(values: list[float], count: int) -> None:
    transforms = fitted({"x": {"kind": "buckets", "count": count}}, {"x": values})
    result = ids(transforms, {"x": values}, "x")
    assert min(result) >= 2
    ordered = [bucket for _, bucket in sorted(zip(values, result, strict=True))]
    assert ordered == sorted(ordered)
    if len(set(values)) == len(values):
        sizes = np.bincount(result)[2:]
        assert max(sizes) <= -(-len(values) // count) + 1
    assert ids(transforms, {"x": [None, float("inf"), float("-inf")]}, "x") == [
        0,
        transforms.schema.fields[0].size - 1,
        2,
    ]


def test_quantiles_of_many_values_are_close() -> None:
    values = np.random.default_rng(0).permutation(1_000_000).astype(np.float64)
    sketch = Quantiles()
    for part in np.split(values, 20):
        sketch.add(part)
    shares = np.linspace(0.01, 0.99, 99)
    assert np.abs(sketch.at(shares) / 1e6 - shares).max() < 2e-4


def test_hashes_spread_and_repeat() -> None:
    transforms = fitted({"x": {"kind": "hashed", "size": 1000}}, {"x": ["a"]})
    result = np.array(ids(transforms, {"x": [f"user_{i}" for i in range(100_000)]}, "x"))
    counts = np.bincount(result, minlength=1002)[2:]
    assert counts.min() > 50
    assert counts.max() < 160
    assert ids(transforms, {"x": [7, None]}, "x") == [*ids(transforms, {"x": ["7"]}, "x"), 0]


def test_crosses_depend_on_every_part() -> None:
    features = {
        "city": "categorical",
        "hour": {"kind": "date", "column": "time"},
        "both": {"kind": "cross", "of": ["city", "hour"]},
        "deep": {"kind": "cross", "of": ["both", "city"], "size": 50},
    }
    rows = {"city": ["a", "a", "b", None], "time": [0, 3600, 0, 0]}
    transforms = fitted(features, rows)
    result = ids(transforms, rows, "both")
    assert len(set(result[:3])) == 3
    assert result[3] == 0
    swapped = fitted({**features, "both": {"kind": "cross", "of": ["hour", "city"]}}, rows)
    assert ids(swapped, rows, "both") != result
    assert max(ids(transforms, rows, "deep")) < 52


@pytest.mark.parametrize("transform", ["standard", "log", "none"])
def test_numbers_with_few_values_have_an_edge_per_value(transform: str) -> None:
    values = [0.0] * 900 + [float(i * i) for i in range(1, 101)]
    few, many = (
        fitted({"x": {"kind": "numeric", "transform": transform, "bins": bins}}, {"x": values}) for bins in (8, 128)
    )
    edges = many.schema.fields[0].edges
    assert len(edges) == 101
    assert many.encode({"x": [0.0, 1.0, 10000.0]}).dense[:, 0].tolist() == [edges[0], edges[1], edges[-1]]
    assert len(few.schema.fields[0].edges) <= 9
    assert few.schema.fields[0].edges[0] == edges[0]
    again = Transforms.from_dict(many.to_dict())
    assert again.schema.fields[0].edges == edges


@pytest.mark.parametrize(
    ("features", "part"),
    [
        ({"x": {"kind": "cross", "of": ["x", "y"]}, "y": "categorical"}, "refer to each other: x → x"),
        ({"x": {"kind": "cross", "of": ["y", "z"]}, "y": "numeric", "z": "categorical"}, "'y' is numeric"),
        ({"x": {"kind": "cross", "of": ["y"]}, "y": "categorical"}, "two features or more"),
        ({"x": {"kind": "sequence", "of": "y"}, "y": "hashed"}, "features.x.of: 'y' is hashed"),
        ({"x": {"kind": "sequence", "of": "yy"}, "y": "categorical"}, "no feature 'yy'"),
        ({"x": {"kind": "hashed", "size": 0}}, "features.x: size is 0"),
        ({"x": {"kind": "buckets", "edges": [2.0, 1.0]}}, "ascending numbers"),
        ({"x": {"kind": "date", "part": "weekdya"}}, "did you mean 'weekday'?"),
        ({"x": {"kind": "text", "ngrams": 9}}, "ngrams is 9"),
        ({"x": {"kind": "vector"}}, "features.x.size: is required"),
        ({"x": {"kind": "numeric", "bins": 0}}, "bins is 0"),
        ({"x": {"kind": "numeric", "transform": "lgo"}}, "did you mean 'log'?"),
        ({"x": {"kind": "categorical", "min_cuont": 2}}, "did you mean 'min_count'?"),
        ({"x": {}}, "features.x.kind: is required"),
    ],
)
def test_refused(features: dict[str, Any], part: str) -> None:
    with pytest.raises(DataError) as caught:
        Transforms(build_features(features), ())
    assert part in str(caught.value)


MOMENT = dt.datetime(2024, 5, 1, 13, 30, tzinfo=dt.UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("part", "expected"),
    [("hour", 13), ("weekday", 2), ("hour_of_week", 61), ("day", 0), ("day_of_year", 121), ("week", 17), ("month", 4)],
)
def test_parts_of_a_date_in_every_form(part: str, expected: int) -> None:
    naive = MOMENT.replace(tzinfo=None)
    seconds = int(MOMENT.timestamp())
    forms: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "timestamp": ([naive], {}),
        "iso": (["2024-05-01T13:30:00"], {}),
        "blank": (["2024-05-01 13:30"], {}),
        "zone": (["2024-05-01T15:30:00+02:00"], {}),
        "utc": (["2024-05-01T13:30:00Z"], {}),
        "seconds": ([seconds], {}),
        "float": ([seconds + 0.5], {}),
        "ms": ([seconds * 1000], {"unit": "ms"}),
        "format": (["05/01/2024 1:30:00 PM"], {"format": "%m/%d/%Y %I:%M:%S %p"}),
        "number": ([20240501133000], {"format": "%Y%m%d%H%M%S"}),
        "offset": (["2024-05-01T12:00:00"], {"offset": 1.5}),
    }
    for values, options in forms.values():
        transforms = fitted({"x": {"kind": "date", "part": part, **options}}, {"x": values})
        assert ids(transforms, {"x": [*values, None]}, "x") == [expected + 2, 0]
    if part not in ("hour", "hour_of_week"):
        transforms = fitted({"x": {"kind": "date", "part": part}}, {"x": [MOMENT.date()]})
        assert ids(transforms, {"x": [MOMENT.date()]}, "x") == [expected + 2]


@pytest.mark.parametrize("text", ["yesterday", "2024-02-31", "2024-13-01T00:00:00", "12:00"])
def test_text_that_is_no_time_is_named(text: str) -> None:
    transforms = fitted({"x": {"kind": "date", "part": "day"}}, {"x": ["2024-01-01"]})
    with pytest.raises(DataError, match=f"'x' holds '{text}', which is not a time"):
        transforms.encode({"x": ["2024-01-01", text]})


def grams(text: str, **options: Any) -> list[int]:
    transforms = fitted({"x": {"kind": "text", "length": 12, **options}}, {"x": ["a"]})
    return [item for item in transforms.encode({"x": [text]}).sequences["x"][0].tolist() if item]


def test_text_is_words_and_runs_of_words() -> None:
    assert len(grams("The red dress, the RED one!", ngrams=1)) == 6
    assert len(set(grams("The red dress, the RED one!", ngrams=1))) == 4
    assert len(grams("a b c", ngrams=2)) == 5
    assert len(grams("a b c", ngrams=3)) == 6
    assert grams("a b", ngrams=2)[1] != grams("b a", ngrams=2)[1]
    assert len(grams("日本語", ngrams=1)) == 3
    assert grams("a b c d", ngrams=2)[:4] == grams("a b c d", ngrams=2, length=4)
    assert grams("...") == []
    assert grams("don't") == grams("DON'T")


def test_runs_of_words_stay_in_their_row() -> None:
    transforms = fitted({"x": {"kind": "text", "ngrams": 3, "length": 9}}, {"x": ["a"]})
    together = transforms.encode({"x": ["a b", "c", None, "d e f"]}).sequences["x"].tolist()
    for row, text in zip(together, ["a b", "c", "", "d e f"], strict=True):
        assert row == transforms.encode({"x": [text]}).sequences["x"][0].tolist()


def test_vectors() -> None:
    transforms = fitted({"x": {"kind": "vector", "size": 3}}, {"x": [[1.0, 2.0, 3.0]]})
    assert transforms.encode({"x": [[1, 2, 3], None]}).vectors["x"].tolist() == [[1, 2, 3], [0, 0, 0]]
    for huge in (float("inf"), 1e300):
        with pytest.raises(DataError, match="column 'x' is infinite"):
            transforms.encode({"x": [[1, 2, 3], [1, huge, 3]]})
    for wrong, part in (([[1.0]], "holds 1 values where 3 are expected"), ([[1.0, 2.0, float("inf")]], "is infinite")):
        with pytest.raises(DataError, match=part):
            transforms.encode({"x": wrong})


@pytest.mark.parametrize("kind", ["categorical", "sequence"])
def test_more_values_than_ids_are_an_error(kind, monkeypatch):
    """Ids are int32: above the limit they would wrap around."""
    monkeypatch.setattr("mtl_lightning.data.features.vocabulary.LARGEST", 2)
    rows = {"item": {"categorical": ["a", "b", "c"], "sequence": [["a", "b"], ["c"]]}[kind]}

    def encode(**options):
        transforms = Transforms(build_features({"item": {"kind": kind, **options}}), ())
        transforms.fit([pa.table(rows)])
        return transforms.encode(rows)

    with pytest.raises(DataError, match="item: 3 distinct values, but ids end at 2"):
        encode()
    encode(max_size=2)
