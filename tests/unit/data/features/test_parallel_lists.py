"""Sequences with parallel lists and weights: aligned values, formats, blocks, refusals, and pooling by weights."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.growth import begin
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.errors import DataError

FEATURES = {
    "item": "categorical",
    "seen": {"kind": "sequence", "of": "item", "length": 3, "separator": "|", "with": ["shops", {"time": "none"}]},
    "tags": {"kind": "sequence", "length": 3, "separator": "|", "weight_separator": ":"},
    "topics": {"kind": "sequence", "length": 3, "separator": "|", "weights": "shares"},
}
STEP = st.tuples(
    st.none() | st.integers(0, 5), st.none() | st.sampled_from("abc"), st.none() | st.integers(-9, 9),
    st.integers(0, 8).map(lambda number: number / 8),
)  # fmt: skip
ROWS = st.lists(st.lists(STEP, max_size=5), min_size=1, max_size=8)


def table(rows, *, text):
    """Rows as lists, or as delimited text."""

    def column(values, kind):
        if not text:
            return pa.array(values, pa.list_(kind))
        return pa.array(["|".join("" if value is None else str(value) for value in row) for row in values])

    kinds = {True: pa.string(), False: pa.list_(pa.string())}
    parts = [[[step[i] for step in row] for row in rows] for i in range(4)]
    weighted = [[f"k{item}:{weight}" for item, _, _, weight in row if item is not None] for row in rows]
    return pa.table(
        {
            "item": pa.array([len(row) % 6 for row in rows]),
            "seen": column(parts[0], pa.int64()),
            "shops": column(parts[1], pa.string()),
            "time": column(parts[2], pa.float64()),
            "tags": pa.array(["|".join(row) for row in weighted] if text else weighted, kinds[text]),
            "topics": column(parts[0], pa.int64()),
            "shares": column(parts[3], pa.float64()),
        }
    )


def fitted(*tables):
    transforms = Transforms(build_features(FEATURES), ())
    transforms.fit(tables)
    return transforms


def last(steps, length=3):
    return [step for step in steps if step[0] is not None][-length:]


@settings(max_examples=25, deadline=None)
@given(rows=ROWS)
def test_steps_have_the_values_of_their_lists(rows):
    # A list whose only value is missing is the same text as an empty one.
    rows = [[step for step in row if step[0] is not None] if len(row) == 1 else row for row in rows]
    full = [[(number, shop, 1, 0.5) for number in range(6)] for shop in "abc"]
    lists, text = table(full + rows, text=False), table(full + rows, text=True)
    transforms = fitted(lists)
    blocks = fitted(lists.slice(0, 2), lists.slice(2))
    assert blocks.transforms["seen"].state()["vocabularies"] == transforms.transforms["seen"].state()["vocabularies"]
    assert blocks.transforms["tags"].state() == transforms.transforms["tags"].state()
    again = Transforms.from_dict(json.loads(json.dumps(transforms.to_dict())))
    batch = transforms.encode(lists)
    for other in (fitted(text).encode(text), transforms.encode(text), again.encode(lists)):
        for name, steps in batch.steps.items():
            assert steps.ids.tolist() == other.steps[name].ids.tolist(), name
            assert steps.numbers.tolist() == other.steps[name].numbers.tolist(), name
    ids = transforms.transforms["item"].table.vocabulary.ids
    seen, tags, topics = (batch.steps[name] for name in ("seen", "tags", "topics"))
    mean = transforms.transforms["seen"].scales["time"].known_mean
    for place, row in enumerate(full + rows):
        steps = last(row)
        count = int(seen.length[place])
        assert count == len(steps) == int(tags.length[place]) == int(topics.length[place])
        assert seen.ids[place, :count, 0].tolist() == ids(pa.array([step[0] for step in steps], pa.int64())).tolist()
        assert [number == 0 for number in seen.ids[place, :count, 1]] == [step[1] is None for step in steps]
        times = [mean if step[2] is None else step[2] for step in steps]
        assert seen.numbers[place, :count, 0].tolist() == pytest.approx(times, rel=1e-6)
        for weighted in (tags, topics):
            assert weighted.numbers[place, :count, 0].tolist() == [step[3] for step in steps]
        assert not seen.ids[place, count:].any()
        assert not seen.numbers[place, count:].any()
    for given_rows in (lists, text):
        request = {name: given_rows[name].to_pylist() for name in given_rows.column_names}
        served = RowEncoder(transforms).encode(request, len(lists))
        for name, steps in batch.steps.items():
            padded = steps.padded(3)
            assert served[f"history/{name}/ids"].tolist() == padded.ids.tolist()
            assert served[f"history/{name}/numbers"].tolist() == padded.numbers.tolist()
            assert served[f"history/{name}/length"].tolist() == padded.length.tolist()


def test_missing_weights_are_one_and_one_row_serves_all():
    rows = {"item": [1], "seen": [[1]], "shops": [["a"]], "time": [[1.0]], "tags": ["a:b:2|c|d:"],
            "topics": [[1, 2]], "shares": [[None, 3.0]]}  # fmt: skip
    transforms = fitted(pa.table(rows))
    batch = transforms.encode(rows)
    assert batch.steps["tags"].numbers.flatten().tolist() == [2, 1, 1]
    assert batch.steps["topics"].numbers[0, :2].flatten().tolist() == [1, 3]
    assert transforms.transforms["tags"].tables["tags"].vocabulary.keys.to_pylist() == ["a:b", "c", "d"]
    served = RowEncoder(transforms).encode({**rows, "item": [1, 2]}, 2)
    assert served["history/tags/numbers"].tolist() == [[[2.0], [1.0], [1.0]]] * 2
    absent = {**rows, "shops": [None], "time": [None], "shares": [None]}
    alone = transforms.encode(absent).steps
    assert alone["seen"].ids[0, 0, 1] == 0
    assert alone["topics"].numbers[0, :2].flatten().tolist() == [1, 1]
    missing = transforms.encode({name: pa.nulls(2) for name in rows})
    assert [steps.length.tolist() for steps in missing.steps.values()] == [[0, 0]] * 3


@pytest.mark.parametrize(
    ("change", "message", "row"),
    [
        ({"shops": [["a"], ["a", "b"]]}, "features.seen: 1 values of 'seen' and 2 of 'shops'", 1),
        ({"time": [["soon"], ["1"]]}, "column 'time' holds 'soon', which is not a number", 0),
        ({"tags": ["a:1|b:-2", "c:x"]}, "column 'weight' holds 'x', which is not a number", 1),
        ({"tags": ["a:1", "b:1|c:-2"]}, "column 'weight' holds the weight -2", 1),
        ({"shares": [[1.0], [1.0, 1.0]]}, "features.topics: 1 values of 'topics' and 2 of 'shares'", 1),
    ],
)
def test_rows_that_cannot_be_read_are_named(change, message, row):
    rows = {"item": [1, 2], "seen": [[1], [2]], "shops": [["a"], ["b"]], "time": [[1.0], [2.0]],
            "tags": ["a:1", "b:2"], "topics": [[1], [2]], "shares": [[1.0], [2.0]]}  # fmt: skip
    with pytest.raises(DataError, match=message) as caught:
        fitted(pa.table({**rows, **change}))
    assert caught.value.index == row


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"with": [{"price": "logs"}]}, "no transform 'logs'.*did you mean 'log'"),
        ({"with": ["shops", "shops"]}, "'shops' is listed twice"),
        ({"weights": "w", "weight_separator": ":"}, "weights and weight_separator are both set"),
        ({"weight_separator": ""}, "weight_separator is empty"),
        ({"weight_separator": ","}, "weight_separator is also the separator"),
    ],
)
def test_options_that_are_wrong_are_refused_with_their_place(options, message):
    with pytest.raises(DataError, match=message) as caught:
        build_features({"f": {"kind": "sequence", **options}})
    assert str(caught.value).startswith("features.f")


def test_a_warm_start_keeps_ids_and_scales():
    full = [[(number, "a", number, 0.5) for number in range(3)]]
    yesterday = fitted(table(full, text=False))
    today = Transforms(build_features(FEATURES), ())
    begin(today, yesterday)
    today.fit([table([[(5, "c", 99, 0.5)]], text=False)])
    before, after = (run.encode(table(full, text=False)).steps["seen"] for run in (yesterday, today))
    assert before.ids.tolist() == after.ids.tolist()
    assert before.numbers.tolist() == after.numbers.tolist()
    assert int(today.encode(table([[(5, "c", 1, 1.0)]], text=False)).steps["seen"].ids.min()) == 0  # padding only
    assert today.schema.field("seen").steps[1].size == yesterday.schema.field("seen").steps[1].size + 1


@pytest.mark.parametrize("pooling", ["mean", "sqrt"])
def test_weights_pool_the_embeddings(pooling):
    rows = {"tags": ["a:1|b:3", "a:2", "b:0|a:0", None]}
    transforms = Transforms(build_features({"tags": FEATURES["tags"]}), ())
    transforms.fit([pa.table(rows)])
    encoder = EmbeddingEncoder(transforms.schema, 1, width=4, pooling=pooling).eval()
    z = encoder(transforms.encode(rows)).z
    a, b = (encoder.table.weight[number] for number in transforms.encode(rows).steps["tags"].ids[0, :2, 0])
    scale = 1 if pooling == "mean" else np.sqrt(2)
    torch.testing.assert_close(z[0], (a + 3 * b) / 4 * scale)
    torch.testing.assert_close(z[1], a)
    assert not z[2:].any()
