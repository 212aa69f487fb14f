"""Missing values and numbers as people write them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mtl_lightning.data.arrow.number_text import NumberText
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.sources.table import Table
from mtl_lightning.errors import DataError

pytestmark = pytest.mark.usefixtures("cache")


def read(tmp_path: Path, written: str, **options: Any) -> dict[str, list[Any]]:
    (tmp_path / "log.csv").write_text(written, encoding="utf-8")
    source = Table(path=str(tmp_path / "log.csv"), **options)
    return pa.concat_tables(source.rows().with_format("arrow").iter(batch_size=1000)).to_pydict()


@pytest.mark.parametrize("spelling", ["—", "?", "-", "<NA>", "-999"])
def test_further_spellings_of_a_missing_value(tmp_path: Path, spelling: str) -> None:
    text = f"user,price\na,1.5\n{spelling},{spelling}\nb,\n"
    assert read(tmp_path, text, missing=[spelling]) == {"user": ["a", None, "b"], "price": [1.5, None, None]}


@pytest.mark.parametrize(
    ("options", "written", "expected"),
    [
        ({"decimal": ","}, ["3,14", "-0,5", "7", "1,5e3"], [3.14, -0.5, 7.0, 1500.0]),
        ({"thousands": ","}, ["1,234.5", "999", "-1,234,567"], [1234.5, 999.0, -1234567.0]),
        ({"decimal": ",", "thousands": "."}, ["1.234,5", "12.345.678", "3,14"], [1234.5, 12345678.0, 3.14]),
        ({"thousands": " "}, ["1 234", "12"], [1234, 12]),
        ({"thousands": ","}, ["12,34,567", "1"], [1234567, 1]),
        ({"thousands": ","}, ["1,23", "5"], ["1,23", "5"]),
        ({"thousands": ","}, ["$1,234.50", "dear, 2", "a, b"], ["$1234.50", "dear, 2", "a, b"]),
    ],
)
def test_numbers(tmp_path: Path, options: dict[str, str], written: list[str], expected: list[Any]) -> None:
    text = "price;x\n" + "".join(f"{number};1\n" for number in written)
    assert read(tmp_path, text, separator=";", **options)["price"] == expected


def test_a_column_of_text_keeps_its_spelling(tmp_path: Path) -> None:
    result = read(tmp_path, "version;x\n1,10;1\n", separator=";", text=["version"], decimal=",")
    assert result["version"] == ["1,10"]


def test_plain_numbers_are_not_rewritten() -> None:
    values = pa.array(["1,5", "3.14"])
    assert NumberText().plain(values) is values


@pytest.mark.parametrize("kind", ["numeric", "buckets"])
def test_units_are_stripped_from_columns_and_requests(kind: str) -> None:
    features = build_features({"price": {"kind": kind, "strip": ["$", "%", "kg"]}})
    fitted, plain = Transforms(features, ()), Transforms(build_features({"price": kind}), ())
    written, numbers = ["$12.99", "-$5", "45 %", "3kg", None, "$ 7"], [12.99, -5.0, 45.0, 3.0, None, 7.0]
    fitted.fit([pa.table({"price": written})])
    plain.fit([pa.table({"price": numbers})])
    expected = plain.encode_features(pa.table({"price": numbers}))
    restored = Transforms.from_dict(fitted.to_dict())
    for transforms in (fitted, restored):
        result = transforms.encode_features(pa.table({"price": written}))
        assert {name: part.tolist() for name, part in result.items()} == {
            name: part.tolist() for name, part in expected.items()
        }
    request = RowEncoder(restored).encode({"price": ["$12.99", "45%"]}, 2)
    part = "dense" if kind == "numeric" else "ids"
    assert request[part].tolist() == RowEncoder(plain).encode({"price": [12.99, 45.0]}, 2)[part].tolist()


@pytest.mark.parametrize("value", ["$", "12$99", "$$5", "€5"])
def test_what_is_no_number_without_its_unit_is_named(value: str) -> None:
    fitted = Transforms(build_features({"price": {"kind": "numeric", "strip": ["$"]}}), ())
    with pytest.raises(RowError, match="column 'price' holds") as caught:
        fitted.fit([pa.table({"price": ["$1", value, "$2", value]})])
    assert (caught.value.index, sorted(caught.value.further)) == (1, [1, 3])


@pytest.mark.parametrize("unit", ["", " ", "5", ".", "-", "e", "nan"])
def test_units_that_are_parts_of_numbers_are_refused(unit: str) -> None:
    with pytest.raises(DataError, match="strip holds"):
        build_features({"price": {"kind": "numeric", "strip": [unit]}})


def test_columns_that_only_numbers_read_are_not_kept_as_text() -> None:
    features = build_features({"price": {"kind": "numeric", "strip": ["$"]}, "user": "categorical"})
    fitted = Transforms(features, ())
    fitted.fit([pa.table({"price": ["$1", "$2"], "user": ["a", "b"]})])
    assert fitted.text == {"user"}
