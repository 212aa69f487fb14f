"""Lists that Python, JSON, numpy or SQL printed are the lists that they were; what is none is refused with its row."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.arrow.lists import flatten
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError

pytestmark = pytest.mark.usefixtures("cache")


def read(text, separator=","):
    return flatten(pa.array([text], pa.string()), "h", separator).values.to_pylist()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[1 2 3]", ["1", "2", "3"]),
        (str(np.arange(60)), [str(n) for n in range(60)]),
        ("[1. 2. 0.5]", ["1", "2", "0.5"]),
        ("['a' 'b c']", ["a", "b c"]),
        ("['Rock, Pop', 'Jazz']", ["Rock, Pop", "Jazz"]),
        ('["it\'s", "\\u00e9\\n\\"", "\\ud83d\\ude00"]', ["it's", 'é\n"', "😀"]),
        ("['it\\'s', 'a\\\\b']", ["it's", "a\\b"]),
        ("(1, 2)", ["1", "2"]),
        ("(7,)", ["7"]),
        ("{1, 2}", ["1", "2"]),
        ("[1, None, 2]", ["1", "2"]),
        ("[null, 1, NaN]", ["1"]),
        ("[1.0, 2.0]", ["1", "2"]),
        ("[1e3, 1.50, -0.0]", ["1000", "1.5", "0"]),
        ("[True, false]", ["true", "false"]),
        ("[np.int64(1), np.str_('x')]", ["1", "x"]),
        ("[9007199254740993, 1.5]", ["9007199254740993", "1.5"]),
        (" [1,2] ", ["1", "2"]),
        ("[]", []),
        ("()", []),
        ("['', ' ']", []),
    ],
)
@pytest.mark.parametrize("separator", [",", " "])
def test_values_of_a_printed_list(text, values, separator):
    assert read(text, separator) == values


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2", "begins with a bracket and is not a list"),
        ("[1, 2)", "begins with a bracket and is not a list"),
        ("[Rock, Pop]", "is not a list as Python, JSON or numpy prints it, from 'Rock, Pop' on"),
        ("[1 2 ... 8 9]", "was shortened by numpy"),
        ("[[1], [2]]", "holds lists in lists"),
        ("{'a': 1}", "holds names with values"),
        ("[1, 2 3]", "has both commas and blanks"),
        ("[007]", "is not a list as"),
        ("[25e83726, 1]", "holds 25e83726, which is too large for a number"),
        ("['a", "begins with a bracket"),
        ("[1,,2]", "is not a list as"),
    ],
)
def test_what_is_no_list_is_refused_with_its_row(text, reason, tmp_path):
    with pytest.raises(RowError) as caught:
        flatten(pa.array(["1,2", "[1]", None, text]), "h")
    assert reason in caught.value.message
    assert caught.value.index == 3
    rows = {"h": ["[1]", "2", "3", text] * 10, "click": [0, 1] * 20}
    with pytest.raises(DataError, match=r"column 'h'.* in row 3 \(split train\)"):
        DataModule.from_frame(
            rows, features={"h": "sequence"}, tasks={"click": "binary"},
            split={"by": "random", "validation": 0, "test": 0}, cache_dir=tmp_path,
        ).prepare()  # fmt: skip


def test_with_another_separator_brackets_belong_to_the_values():
    assert read("(500) Days of Summer|[REC]", "|") == ["(500) Days of Summer", "[REC]"]
    assert read("a (b),[c", ",") == ["a (b)", "[c"]


@pytest.mark.parametrize("text", ["(really) good", "[REC]", "(", "[a] [b]"])
def test_words_may_stand_in_brackets(text):
    assert read(text, " ") == text.split()
    with pytest.raises(RowError, match=r"\[1 2 \.\.\. 9\]' was shortened by numpy"):
        read("[1 2 ... 9]", " ")


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(-1e15, 1e15).map(lambda item: round(item, 3)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(scalars, max_size=5), st.sampled_from([repr, json.dumps, lambda item: repr(tuple(item))]))
def test_every_list_is_read_back(values, write):
    expected = []
    for value in values:
        if isinstance(value, bool):
            expected.append(str(value).lower())
        elif isinstance(value, float) and value.is_integer():
            expected.append(str(int(value)))
        elif isinstance(value, float):
            expected.append(pa.array([value]).cast(pa.string())[0].as_py())
        elif value is not None and str(value).strip():
            expected.append(str(value).strip())
    assert read(write(values)) == expected


LISTS = [[1, 2], [2], [], [3, 1, 2], [1]]
PRINTED = {
    "python": ["[1, 2]", "[2]", "[]", "[3, 1, 2]", "[1]"],
    "numpy": ["[1 2]", "[2]", "[]", "[3 1\n 2]", "[1]"],
    "floats": ["[1.0, 2.0]", "[2.0]", "", "[3.0, None, 1.0, 2.0]", "[1.]"],
    "tuples": ["(1, 2)", "(2,)", "()", "(3, 1, 2)", "{1}"],
    "text": ["['1', '2']", '["2"]', "", "['3' '1' '2']", "['1']"],
    "divided": ["1,2", "2", "", "3, 1,2", "1"],
}


def written(kind, column, path):
    if kind == "csv":
        with path.with_suffix(".csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["item", "h", "click"])
            out.writerows([n % 4 + 1, column[n % 5], n // 3 % 2] for n in range(100))
        return path.with_suffix(".csv")
    rows = [{"item": n % 4 + 1, "h": column[n % 5], "click": n // 3 % 2} for n in range(100)]
    if kind == "json":
        path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, rows)))
        return path.with_suffix(".jsonl")
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("own", [False, True])
def test_every_format_gives_the_same_ids(tmp_path, own):
    options = {"kind": "sequence", "length": 4} | ({} if own else {"of": "item"})

    def prepared(path):
        return DataModule(
            Table(path=str(path)), features={"item": "categorical", "h": options}, tasks={"click": {"kind": "binary"}},
            split={"by": "random", "validation": 0, "test": 0}, cache_dir=tmp_path / "prepared",
        ).prepare()  # fmt: skip

    wanted = prepared(written("parquet", LISTS, tmp_path / "lists"))
    store = wanted.stores["train"]
    assert wanted.transforms.schema.field("h").size == (5 if own else 6)
    for name, column in PRINTED.items():
        for kind in ("csv", "json", "parquet"):
            result = prepared(written(kind, column, tmp_path / name))
            assert result.transforms.schema.field("h").size == wanted.transforms.schema.field("h").size, (name, kind)
            ids = result.stores["train"].parts["sequence/h"]
            assert (ids == store.parts["sequence/h"]).all(), (name, kind)
        for transforms in (wanted.transforms, result.transforms):  # over HTTP
            served = RowEncoder(transforms).encode({"item": [1] * 5, "h": column}, 5)["sequence/h"]
            assert served.tolist() == store.parts["sequence/h"][:5].tolist()


def test_labels_that_were_printed_are_as_many_as_they_are(tmp_path):
    def fitted(column):
        rows = {"item": list(range(10)) * 3, "tags": column * 6}
        data = DataModule.from_frame(
            rows, features={"item": "categorical"}, tasks={"tags": {"kind": "multilabel", "label": "tags"}},
            split={"by": "random", "validation": 0, "test": 0}, cache_dir=tmp_path,
        )  # fmt: skip
        return data.schema.task("tags").classes, data.prepared.stores["train"].parts["labels"].tolist()

    wanted = fitted([["Rock, Pop", "Jazz"], ["Jazz"], [], ["Soul"], ["Soul", "Jazz"]])
    assert wanted[0] == 3
    assert fitted(["['Rock, Pop', 'Jazz']", '["Jazz"]', "[]", "('Soul',)", "{'Soul', 'Jazz'}"]) == wanted
    assert fitted(["['Rock, Pop' 'Jazz']", "['Jazz']", "", "['Soul']", "['Soul' 'Jazz']"]) == wanted
    numbers = fitted([[1, 2], [2], [], [3, 1], [1]])
    assert numbers[0] == 3
    assert fitted(["[1 2]", "[2]", "[]", "[3, None, 1]", "[1.0]"]) == numbers


def test_vectors_that_were_printed():
    transforms = Transforms(build_features({"v": {"kind": "vector", "size": 3}}), ())
    table = pa.table({"v": ["[0.5, 1, -2e-1]", "[ 0.5  1.\n -0.2]", "0.5 1 -0.2", "(0.5, 1, -.2)"]})
    transforms.fit([table])
    result = transforms.encode(table).vectors["v"].numpy()
    np.testing.assert_array_equal(result, np.array([[0.5, 1, -0.2]] * 4, dtype=np.float32))
