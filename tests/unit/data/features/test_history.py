"""Options of histories, and what is refused before rows are read."""

from typing import Any

import pyarrow as pa
import pytest

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.features.history import History
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.interfaces import RawSchema

ROWS = {"user": ["a", "b"] * 10, "item": [1, 2] * 10, "time": list(range(20)), "click": [0, 1, 1, 0] * 5}
USED = {"kind": "history", "by": "user", "time": "time", "of": "item"}


def data(tmp_path: Any, history: dict[str, Any], rows: Any = None, **features: Any) -> DataModule:
    chosen = {"item": "categorical", "seen": {**USED, **history}, **features}
    return DataModule.from_frame(rows or ROWS, features=chosen, tasks={"click": "binary"}, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length is 0"),
        ({"delay": -1}, "delay is -1"),
        ({"with": [{"price": "logs"}]}, "no transform 'logs'.*did you mean 'log'"),
        ({"with": ["item"]}, "'item' is listed twice"),
        ({"where": "click = 1"}, "write == to compare"),
        ({"of": None}, "seen.of: expects a string"),
        ({"with": "item"}, r"seen.with: .*\[item\]"),
        ({"from": "other.parquet"}, "from"),
        ({"format": "%Q"}, "format"),
    ],
)
def test_options_that_are_wrong_are_refused_with_their_place(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MtlError, match=message) as raised:
        build_features({"seen": {**USED, **options}})
    assert "features.seen" in str(raised.value)


@pytest.mark.parametrize(
    ("options", "column"),
    [({"by": "usr"}, "usr"), ({"time": "tme"}, "tme"), ({"of": "itm"}, "itm"), ({"with": ["shop"]}, "shop"),
     ({"where": "clik == 1"}, "clik")],
)  # fmt: skip
def test_columns_must_exist(tmp_path: Any, options: dict[str, Any], column: str) -> None:
    with pytest.raises(MtlError, match=rf"features\.seen: no column '{column}'"):
        data(tmp_path, options).prepare()


def test_labels_of_earlier_rows_may_be_read_and_the_row_s_own_may_not(tmp_path: Any) -> None:
    assert data(tmp_path, {"with": [{"click": "none"}], "where": "click == 1"}).prepare()
    with pytest.raises(MtlError, match=r"features\.seen: reads 'click', of which the label"):
        data(tmp_path, {"time": "click"}).prepare()


def test_true_probabilities_are_not_read(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = data(tmp_path, {"with": [{"p": "none"}]}, {**ROWS, "p": [0.5] * 20})
    columns = module.source.schema().columns
    monkeypatch.setattr(module.source, "schema", lambda: RawSchema(columns=columns, oracle=("p",)))
    with pytest.raises(MtlError, match=r"features\.seen: 'p' holds true probabilities"):
        module.prepare()


def test_a_history_is_not_called_like_a_column_of_another_feature(tmp_path: Any) -> None:
    with pytest.raises(MtlError, match=r"features\.seen: is also the name of a column that 'other' reads"):
        data(tmp_path, {}, {**ROWS, "seen": [1, 2] * 10}, other={"kind": "categorical", "column": "seen"}).prepare()


def test_values_that_cannot_be_read_are_named_with_their_row(tmp_path: Any) -> None:
    price = ["1"] * 12 + ["cheap"] + ["1"] * 7
    with pytest.raises(MtlError, match=r"column 'price' holds 'cheap'.* in row 12"):
        data(tmp_path, {"with": [{"price": "log"}], "where": "click == 0"}, {**ROWS, "price": price}).prepare()
    time = [f"2024-01-{day:02}" for day in range(1, 21)]
    time[7] = "yesterday"
    with pytest.raises(MtlError, match=r"features\.seen: the time column 'time' holds 'yesterday' in row 7"):
        data(tmp_path, {}, {**ROWS, "time": time}).prepare()


def test_an_id_shares_the_vocabulary_of_the_feature_that_reads_its_column(tmp_path: Any) -> None:
    features = build_features({"seen": {**USED, "with": ["shop"]}, "thing": {"kind": "categorical", "column": "item"}})
    history = features["seen"]
    assert isinstance(history, History)
    assert history.shares(features) == ("thing",)
    assert history.request_columns("seen") == ("seen", "time")
    assert history.tokens("seen") == ("user", "item", "shop")
    transforms = DataModule.from_frame(
        pa.table({**ROWS, "shop": ["s"] * 20}), features=features, tasks={"click": "binary"}, cache_dir=tmp_path
    ).prepared.transforms
    steps = transforms.schema.field("seen").steps
    assert [(step.name, step.table) for step in steps] == [("item", "thing"), ("shop", "seen.shop")]


def test_workers_must_have_read_times_of_one_form() -> None:
    features = build_features({"item": "categorical", "seen": USED})
    fitted = features["seen"].build("seen", {"item": features["item"].build("item", {})})
    for unit in (None, 1_000_000, None, 1_000_000):
        fitted.merge(unit)
    assert fitted.partial() == 1_000_000
    with pytest.raises(DataError, match=r"features\.seen: the time column 'time' holds numbers where it held times"):
        fitted.merge(0)
