"""Expressions of features: what is refused and where, types in training and in requests, warm starts."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from mtl_lightning.config import compose, validate
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import ConfigError, DataError, MtlError
from mtl_lightning.plugins.builtin import FEATURES

ROWS = {
    "price": [1.0, 2.0, None, 4.0] * 5,
    "title": ["a", "bb", None, "dd d"] * 5,
    "time": pa.array([0, 3600, None, 10**9] * 5, pa.timestamp("s")),
    "seen": [True, False, None, True] * 5,
    "tags": [["a"], ["b"], [], ["a", "b"]] * 5,
    "watched": [1.0, 5.0, 2.0, 7.0] * 5,
    "click": [0, 1, 1, 0] * 5,
}


@pytest.mark.parametrize("kind", sorted(set(FEATURES) - {"cross", "history", "overlap", "preference"}))
def test_every_kind_of_one_column_reads_expressions(kind):
    options = {
        "vector": {"size": 1},
        "semantic_id": {"size": 1, "clusters": 2},
        "date": {"format": "%d", "part": "day"},
    }.get(kind, {})
    text = "if_else(price > 1, '3', '4')"
    transforms = Transforms(build_features({"f": {"kind": kind, "expression": text, **options}}), ())
    column = pa.array(["4", "3", None, "3"])
    plain = Transforms(build_features({"f": {"kind": kind, **options}}), ())
    transforms.fit([pa.table({"price": [1.0, 2.0, None, 4.0]})])
    plain.fit([pa.table({"f": column})])
    assert transforms.columns == ("price",)
    batch, expected = transforms.encode({"price": [2, 1, None]}), plain.encode({"f": ["3", "4", None]})
    assert batch.ids.tolist() == expected.ids.tolist()
    assert batch.dense.tolist() == expected.dense.tolist()
    for name in ("sequences", "vectors"):
        values = [{key: part.tolist() for key, part in getattr(item, name).items()} for item in (batch, expected)]
        assert values[0] == values[1]


def problems(tmp_path, features, **data):
    pq.write_table(pa.table(ROWS), tmp_path / "log.parquet")
    recipe = {
        "extends": "base",
        "source": {"name": "table", "path": str(tmp_path / "log.parquet"), "after_event": ["watched"]},
        "features": features,
        "tasks": {"click": {"kind": "binary", "label": "click"}, "long": {"kind": "binary", "label": "price > 3"}},
        "data": data,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    try:
        validate(compose(str(tmp_path / "recipe.yaml"), []).plain)
    except ConfigError as error:
        return "\n".join(str(problem) for problem in error.problems)
    return ""


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("price /", "features.f: expression: 'price /' is not an expression"),
        ("prise / 2", "features.f: no column 'prise' (did you mean 'price'?)"),
        ("title / 2", "features.f.expression: 'title / 2': text where a number is needed"),
        ("hour(seen)", "features.f.expression: 'hour(seen)': a truth value where a time is needed"),
        ("length(tags)", "features.f.expression: 'tags' holds list"),
        ("lenght(title)", "features.f: expression: 'lenght(title)': no function 'lenght' (did you mean 'length'?)"),
        ("watched / price", "features.f: leak: 'watched' is known only after the event"),
        ("price + click", "features.f: leak: 'click' is the label of task 'click'"),
        ("price * 2", "data.accept=[leak:f:long] if it is known before"),
    ],
)
def test_recipes_are_refused_with_place_reason_and_hint(tmp_path, expression, message):
    assert message in problems(tmp_path, {"f": {"kind": "numeric", "expression": expression}})


def test_column_and_expression_exclude_each_other(tmp_path):
    result = problems(tmp_path, {"f": {"kind": "numeric", "column": "watched", "expression": "price * 2"}})
    assert "features.f: column and expression are both set" in result
    assert problems(tmp_path, {"f": {"kind": "numeric", "expression": "price * 2"}}, accept=["leak:f:long"]) == ""


def test_rows_that_leak_are_refused_in_python_as_well(tmp_path):
    module = DataModule.from_frame(
        ROWS, features={"f": {"kind": "numeric", "expression": "price + click"}}, tasks={"click": "binary"},
        cache_dir=tmp_path,
    )  # fmt: skip
    with pytest.raises(MtlError, match=r"features\.f: reads 'click', of which the label of task 'click' is made"):
        module.prepare()


def test_requests_are_read_in_the_types_of_training():
    texts = {"hour": "hour(time)", "late": 'time > "2000-01-01"', "seen": "not seen", "long": "length(title)",
             "dear": "price > 1.5"}  # fmt: skip
    features = {name: {"kind": "categorical", "expression": text} for name, text in texts.items()}
    transforms = Transforms(build_features(features), ())
    transforms.fit([pa.table(ROWS)])
    encoder = RowEncoder(Transforms.from_dict(json.loads(json.dumps(transforms.to_dict()))))
    expected = transforms.encode(pa.table(ROWS)).ids[:4].tolist()
    times = ["1970-01-01", "1970-01-01T02:00:00+01:00", None, "2001-09-09 01:46:40"]
    row = {"time": times, "seen": ["true", "False", None, "TRUE"], "title": ["a", "22", "", "dd d"]}
    assert encoder.encode({**row, "price": ["1", "2", None, "4"]}, 4)["ids"].tolist() == expected
    assert encoder.encode({**row, "price": [1, 2, None, 4], "seen": [1, 0, None, 7]}, 4)["ids"].tolist() == expected
    nothing = {"time": [None], "seen": [None], "title": [None], "price": [None]}
    assert encoder.encode(nothing, 1)["ids"].tolist() == [[0] * 5]
    for column, value in (("time", "noon"), ("seen", "maybe"), ("price", "cheap")):
        with pytest.raises(DataError, match=f"column '{column}' holds '{value}', which is not"):
            encoder.encode({**nothing, column: [value]}, 1)
    with pytest.raises(DataError, match="no column 'price'"):
        encoder.encode({name: values for name, values in nothing.items() if name != "price"}, 1)


def test_text_that_was_text_in_training_stays_text(tmp_path):
    features = {"f": {"kind": "numeric", "expression": "length(code)", "transform": "none"}}
    transforms = Transforms(build_features(features), ())
    transforms.fit([pa.table({"code": ["a1", "22"]})])
    assert transforms.text == {"code"}
    assert transforms.encode({"code": [123, 7]}).dense.tolist() == [[3.0], [1.0]]
