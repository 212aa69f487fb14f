"""Fitted features: ids survive exactly, numbers are standardised, sequences keep the latest, state round trips."""

import json
import math
from collections import Counter as Count

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.data.arrow.hashing import group_numbers, hash_keys, hash_text
from mtl_lightning.data.arrow.keys import canonical_spelling, keys
from mtl_lightning.data.arrow.lists import flatten
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.features.vocabulary import Counter, Vocabulary
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.frames import as_array
from mtl_lightning.errors import DataError

SCALARS = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=6),
    st.just(2**53 + 1),
    st.sampled_from(["", "7", "007"]),
)


def fitted(features: dict[str, object], *blocks: pa.Table) -> Transforms:
    transforms = Transforms(build_features(features), ())
    transforms.fit(blocks)
    return transforms


@settings(max_examples=100, deadline=None)
@given(values=st.lists(SCALARS, min_size=1, max_size=60), cut=st.integers(0, 60), limit=st.integers(1, 3))
def test_vocabulary_is_exact(values: list[object], cut: int, limit: int) -> None:
    blocks = [pa.table({"x": as_array(part, "x")}) for part in (values[:cut], values[cut:])]
    transforms = fitted({"x": {"kind": "categorical", "min_count": limit}}, *blocks)
    values = [None if value is None else canonical_spelling(str(value)) for value in values]  # blank text is missing
    counts = Count(str(value) for value in values if value is not None)
    remaining = [key for key, count in counts.items() if count >= limit]
    assert transforms.schema.fields[0].size == len(remaining) + 2
    result = [int(item) for block in blocks for item in transforms.encode(block).ids[:, 0]]
    by_key: dict[str, int] = {}
    for value, single in zip(values, result, strict=True):
        if value is None:
            assert single == 0
        elif counts[str(value)] < limit:
            assert single == 1
        else:
            assert single >= 2
            assert by_key.setdefault(str(value), single) == single
    assert len(set(by_key.values())) == len(by_key)
    frequency = [counts[key] for key in sorted(by_key, key=by_key.__getitem__)]
    assert frequency == sorted(frequency, reverse=True)
    again = Transforms.from_dict(json.loads(json.dumps(transforms.to_dict())))
    assert again.to_dict() == transforms.to_dict()
    for block in blocks:
        assert again.encode(block).ids.tolist() == transforms.encode(block).ids.tolist()


@pytest.mark.parametrize(("size", "step"), [(10, 1), (300_000, 1), (10, 2**40), (300_000, 2**40)])
def test_integers_are_found_by_table_hash_and_bisection(size: int, step: int) -> None:
    numbers = (np.random.default_rng(0).permutation(size * 3)[:size] - size) * step
    vocabulary = Vocabulary(pa.array(numbers))
    asked = pa.array([int(numbers[0]), int(numbers[-1]), None, 2**62 + 1, -(2**62) - 1])
    assert vocabulary.ids(asked).tolist() == [2, size + 1, 0, 1, 1]
    assert vocabulary.ids(pa.array([str(numbers[3]), "x", "0" + str(abs(numbers[3]))])).tolist() == [5, 1, 1]


def test_types_of_training_and_serving_may_differ() -> None:
    transforms = fitted({"x": "categorical"}, pa.table({"x": [7, 2**53 + 1, 2**53]}))
    for served in (["7", str(2**53 + 1), None], [7.0, np.nan, 3.5], [7, 8, 9]):
        ids = transforms.encode({"x": served}).ids[:, 0].tolist()
        assert ids[0] >= 2
    assert transforms.encode({"x": [str(2**53 + 1)]}).ids.item() == transforms.encode({"x": [2**53 + 1]}).ids.item()
    assert transforms.encode({"x": [2**53]}).ids.item() != transforms.encode({"x": [2**53 + 1]}).ids.item()
    assert transforms.encode({"x": ["007"]}).ids.item() == 1


def test_size_cap_keeps_the_most_frequent() -> None:
    transforms = fitted({"x": {"kind": "categorical", "max_size": 2}}, pa.table({"x": list("aaabbcd")}))
    assert transforms.encode({"x": list("abcd")}).ids[:, 0].tolist() == [2, 3, 1, 1]


@pytest.mark.parametrize("tallied", [0, 30, 1 << 18])
def test_counting_compacts(monkeypatch: pytest.MonkeyPatch, tallied: int) -> None:
    monkeypatch.setattr("mtl_lightning.data.features.vocabulary.COMPACT", 10)
    monkeypatch.setattr("mtl_lightning.data.features.vocabulary.TALLIED", tallied)
    counter = Counter()
    for start in range(0, 100, 5):
        counter.add(pa.array(range(start, start + 10)))
    counter.add(pa.array(["x", "5", None]))
    result = counter.result()
    assert result["count"].to_pylist() == [3] + [2] * 94 + [1] * 11
    assert result["key"][0].as_py() == "5"


NEAR, FAR = st.integers(-300, 300), st.sampled_from([-(2**63), -(2**40), 2**40, 2**63 - 1])
COUNTED = st.lists(st.lists(st.one_of(st.none(), NEAR, FAR), max_size=12), max_size=6)


@settings(max_examples=200, deadline=None)
@given(blocks=COUNTED, words=st.lists(st.sampled_from(["a", "7", "-3", "007"]), max_size=4), at=st.integers(0, 6))
def test_counts_are_those_of_counting_one_by_one(blocks: list[list[int | None]], words: list[str], at: int) -> None:
    parts = [pa.array(block, pa.int64()) for block in blocks]
    parts.insert(at, pa.array(words, pa.string()))
    counter = Counter()
    for part in parts:
        counter.add(part)
    result = counter.result()
    name = str if words else int
    expected = Count(name(key) for part in parts for key in part.to_pylist() if key is not None)
    ordered = sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    assert list(zip(result["key"].to_pylist(), result["count"].to_pylist(), strict=True)) == ordered


WORDS = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "7", "007", "", "ä"])), max_size=12)


@pytest.mark.parametrize("largest", [0, 60, 1 << 20])
@settings(max_examples=100, deadline=None)
@given(blocks=st.lists(WORDS, min_size=1, max_size=5), repeat=st.booleans(), keep=st.integers(1, 3))
def test_dictionaries_are_text(largest: int, blocks: list[list[str | None]], repeat: bool, keep: int) -> None:
    plain = [pa.table({"x": pa.array(block, pa.string())}) for block in blocks]
    coded = [pa.table({"x": block["x"].dictionary_encode()}) for block in plain]
    spec = {"x": {"kind": "categorical", "max_size": keep}}
    expected = fitted(spec, *plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtl_lightning.data.features.dictionary_codes.LARGEST", largest)
        transforms = fitted(spec, *(block.slice(0, 5) for block in coded), *(block.slice(5) for block in coded))
    assert transforms.to_dict() == expected.to_dict()
    again = [pa.table({"x": block["x"].dictionary_encode()}) for block in plain] if repeat else coded
    joined = pa.concat_tables(again)  # chunks with a dictionary each
    for rows in (*again, joined):
        decoded = pa.table({"x": rows["x"].cast(pa.string())})
        assert transforms.encode(rows).ids.tolist() == expected.encode(decoded).ids.tolist()
    transforms.transforms["x"].forget()  # type: ignore[attr-defined]
    assert transforms.encode(joined).ids.tolist() == expected.encode(pa.concat_tables(plain)).ids.tolist()


NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(float("nan")))


@settings(max_examples=100, deadline=None)
@given(values=st.lists(NUMBERS, min_size=1, max_size=60), cut=st.integers(0, 60))
def test_standardised(values: list[float | None], cut: int) -> None:
    blocks = [pa.table({"x": pa.array(part, pa.float64())}) for part in (values[:cut], values[cut:])]
    transforms = fitted({"x": "numeric"}, *blocks)
    dense = transforms.encode(pa.concat_tables(blocks)).dense[:, 0].numpy()
    known = np.array([value for value in values if value is not None and not math.isnan(value)])
    spread = known.std() if len(known) and len(set(known)) > 1 else 0.0
    for value, got in zip(values, dense, strict=True):
        if value is None or math.isnan(value) or spread == 0:
            assert got == 0
        else:
            assert got == pytest.approx((value - known.mean()) / spread, abs=1e-3, rel=1e-3)
    again = Transforms.from_dict(json.loads(json.dumps(transforms.to_dict())))
    assert (again.encode(pa.concat_tables(blocks)).dense[:, 0].numpy() == dense).all()


def test_constants_are_zero_exactly() -> None:
    transforms = fitted({"x": "numeric"}, pa.table({"x": [0.1] * 1000}))
    assert transforms.encode({"x": [0.1]}).dense.item() == 0


@pytest.mark.parametrize(
    ("options", "served", "expected"),
    [
        ({"missing": "zero", "transform": "none"}, [None, 4.0], [0.0, 4.0]),
        ({"missing": -1.0, "transform": "none"}, [None, 4.0], [-1.0, 4.0]),
        ({"missing": "mean", "transform": "none"}, [None, 4.0], [2.0, 4.0]),
        ({"transform": "none", "minimum": 1.0, "maximum": 3.0}, [-9.0, 9.0], [1.0, 3.0]),
        ({"missing": 3.0}, [None, 3.0], [1.0, 1.0]),
        ({"transform": "log"}, [math.e**2 - 1], [(2 - math.log(8) / 2) / math.log(8) * 2]),
    ],
)
def test_numeric_options(options: dict[str, object], served: list[float | None], expected: list[float]) -> None:
    values = [0.0, 7.0] if options.get("transform") == "log" else [1.0, 3.0]
    transforms = fitted({"x": {"kind": "numeric", **options}}, pa.table({"x": values}))
    assert transforms.encode({"x": served}).dense[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ([1.0, float("inf")], "column 'x' is infinite"),
        (["1", "two"], "column 'x' holds 'two', which is not a number"),
        ([[1.0], [2.0]], "column 'x' holds list<item: double>, not numbers"),
        ([1e300, -1e300], "has values that overflow"),
    ],
)
def test_numbers_refused(values: list[object], part: str) -> None:
    with pytest.raises(DataError) as caught:
        fitted({"x": "numeric"}, pa.table({"x": values}))
    assert part in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(st.one_of(st.none(), st.sampled_from("abcd")), max_size=6), min_size=1, max_size=20))
def test_sequences_keep_the_latest(rows: list[list[str | None]]) -> None:
    spec = {"item": "categorical", "seen": {"kind": "sequence", "of": "item", "length": 3}}
    listed = pa.table({"item": pa.array(["a"] * len(rows)), "seen": pa.array(rows, pa.list_(pa.string()))})
    transforms = fitted(spec, listed)
    ids = {key: number for number, key in enumerate(transforms.transforms["item"].state()["keys"], start=2)}
    expected = []
    for row in rows:
        remaining = [ids[value] for value in row if value is not None][-3:]
        expected.append(remaining + [0] * (3 - len(remaining)))
    assert transforms.encode(listed).sequences["seen"].tolist() == expected
    text = ["|".join(value or "" for value in row) for row in rows]
    delimited = fitted(
        {**spec, "seen": {**spec["seen"], "separator": "|"}}, listed.set_column(1, "seen", pa.array(text))
    )
    assert delimited.encode({"item": ["a"] * len(rows), "seen": text}).sequences["seen"].tolist() == expected
    assert transforms.schema.field("seen").table == "item"


def test_lists_that_were_printed_are_read_as_lists() -> None:
    printed = [[1, 22], ["a b", "it's"], [], None, ["x"]]
    for write in (json.dumps, str, lambda item: f" {item} "):
        texts = [None if entry is None else write(entry) for entry in printed]
        assert [flatten(pa.array([text], pa.string()), "h").values.to_pylist() for text in texts] == [
            ["1", "22"], ["a b", "it's"], [], [], ["x"]
        ]  # fmt: skip
    # Other text keeps its brackets: with another separator, or where they stand within it.
    assert flatten(pa.array(["[a] [b]"]), "h", " ").values.to_pylist() == ["[a]", "[b]"]
    assert flatten(pa.array(["a,[b]", "'c'"]), "h").values.to_pylist() == ["a", "[b]", "'c'"]


def test_sequences_of_numbers_share_ids_with_their_feature() -> None:
    table = pa.table({"item": [10, 11], "seen": [[11, 10, 11], None]})
    transforms = fitted({"seen": {"kind": "sequence", "of": "item", "length": 2}, "item": "categorical"}, table)
    batch = transforms.encode({"item": [10, 99], "seen": ["11,10", ""]})
    ten = batch.ids[0, 0].item()
    assert batch.sequences["seen"][0, 1].item() == ten
    assert batch.ids[1, 0].item() == 1
    assert batch.sequences["seen"][1].tolist() == [0, 0]


def test_mixed_columns_of_a_frame() -> None:
    frame = pd.DataFrame({"x": [1, "1", 2.5, None, 2**70, "ä", b"\xff", True]}, dtype=object)
    array = as_array(frame["x"], "x")
    assert array.to_pylist() == ["1", "1", "2.5", None, str(2**70), "ä", "\\xff", "true"]
    with pytest.raises(DataError, match="mixes lists"):
        as_array([1, [2], "x"], "x")


@given(texts=st.lists(st.text(max_size=50), min_size=1, max_size=30), cut=st.integers(0, 5))
def test_hashes_depend_on_the_text_alone(texts: list[str], cut: int) -> None:
    array = pa.array(["padding", *texts, None])
    whole = hash_text(array)
    assert (hash_text(array.slice(1 + min(cut, len(texts) - 1))) == whole[1 + min(cut, len(texts) - 1) :]).all()
    assert len(set(whole[1:-1].tolist())) == len(set(texts))
    assert (hash_text(array, seed=1) != whole)[:-1].all()


def test_hashes_never_change() -> None:
    # Hashed ids lie in saved models: another value here makes them useless.
    assert hash_text(pa.array(["", "user_1", "日本"])).tolist() == GOLDEN
    assert hash_keys(pa.array([5, 7])).tolist() == hash_keys(pa.array(["5", "7"])).tolist()


GOLDEN = [16294208416658607535, 12366002454759992264, 3477447830858840625]


def test_groups() -> None:
    assert group_numbers(pa.array([5, None, 7]), "u").tolist() == [5, WITHOUT_GROUP, 7]
    mixed = group_numbers(pa.array(["5", None, "x", "x", "y"]), "u").tolist()
    assert mixed[:2] == [5, WITHOUT_GROUP]
    assert mixed[2] == mixed[3] != mixed[4]
    assert min(mixed[2:]) >= 0  # no hash is a number that a log may hold


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1.0, 2.0, None]), [1, 2, None]),
        (pa.array([2**64 - 1, 1], pa.uint64()), [str(2**64 - 1), "1"]),
        (pa.array([True, None]), ["true", None]),
        (pa.array(["a", "b"]).dictionary_encode().dictionary_decode(), ["a", "b"]),
        (pa.array([b"ab"]), ["ab"]),
    ],
)
def test_keys(values: pa.Array, expected: list[object]) -> None:
    assert keys(values).to_pylist() == expected


@settings(deadline=None)
@given(
    known=st.lists(st.integers(-40, 40), min_size=1, unique=True),
    start=st.sampled_from([0, 2**63 - 41, -(2**63) + 40, 2**53]),
    asked=st.lists(st.none() | st.integers(-60, 60) | st.sampled_from([2**63 - 1, -(2**63)])),
)
def test_integers_are_found_by_their_place_wherever_they_lie(
    known: list[int], start: int, asked: list[int | None]
) -> None:
    vocabulary = Vocabulary(pa.array([start + key for key in known], pa.int64()))
    near = [item if item is None or abs(item) > 60 else start + item for item in asked]
    near = [None if item is None else min(max(item, -(2**63)), 2**63 - 1) for item in near]
    ids = {start + key: place + 2 for place, key in enumerate(known)}
    expected = [0 if item is None else ids.get(item, 1) for item in near]
    assert vocabulary.ids(pa.array(near, pa.int64())).tolist() == expected
    assert (
        vocabulary.ids(pa.array([None if item is None else str(item) for item in near], pa.string())).tolist()
        == expected
    )
    assert vocabulary.ids(pa.array([str(item) for item in near], pa.string()), distinct=True).tolist() == [
        1 if item is None else place for item, place in zip(near, expected, strict=True)
    ]
