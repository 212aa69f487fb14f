"""True probabilities of several labels: from a record or list per row to expected AUC, through the Store."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from mtl_lightning import DataModule
from mtl_lightning.batch import Target
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.targets.labels import Label
from mtl_lightning.data.targets.raw_columns import oracles
from mtl_lightning.errors import DataError
from mtl_lightning.metrics.binary.expected_auc import ExpectedAUC
from mtl_lightning.metrics.binary.oracle_auc import OracleAUC
from mtl_lightning.schema import Task

TAGS = Task(name="tags", kind="multilabel", label="tags", oracle="p")


def fitted(task: Task, labels: list[Any]) -> Label:
    label = Label(task)
    label.observe(pa.table({"tags": labels}))
    label.finish()
    return label


def test_records_are_taken_by_name_in_the_order_of_the_labels() -> None:
    label = fitted(TAGS, [["b"], ["a", "c"]])
    rows = [{"c": 0.3, "unseen": 0.9, "a": 0.1, "b": 0.2}, None, {"c": None, "unseen": 0.0, "a": 1.0, "b": 0.0}]
    result = oracles(label, pa.array(rows))
    assert list(result) == ["p.tags.0", "p.tags.1", "p.tags.2"]
    expected = [[0.1, 0.2, 0.3], [np.nan] * 3, [1.0, 0.0, np.nan]]
    np.testing.assert_array_equal(np.stack(list(result.values()), axis=1), expected)


def test_lists_do_where_labels_are_numbers() -> None:
    label = fitted(Task(name="tags", kind="multilabel", label="tags", oracle="p", classes=2), [[0], [1]])
    result = oracles(label, pa.array([[0.1, 0.2], None, [0.3, None], [0.5, 0.6]]).slice(1))
    np.testing.assert_array_equal(
        np.stack(list(result.values()), axis=1), [[np.nan, np.nan], [0.3, np.nan], [0.5, 0.6]]
    )  # fmt: skip
    with pytest.raises(DataError, match="has 1 numbers, none for the label 1"):
        oracles(label, pa.array([[0.1, 0.2], [0.3]]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([0.5]), "holds double"),
        (pa.array([[0.5, 0.5]]), "holds list"),
        (pa.array([{"a": 0.5}]), "has no field for the label 'b'"),
        (pa.array([{"a": 0.5, "b": "x"}]), "not a number"),
    ],
)
def test_what_is_no_number_per_label_is_refused(values: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        oracles(fitted(TAGS, [["a", "b"]]), values)


def test_the_store_has_one_column_per_label_and_serving_needs_none(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "item": [i % 7 for i in range(200)],
            "tags": [["a", "b"] if i % 3 else ["a"] for i in range(200)],
            "click": [i % 2 for i in range(200)],
            "p": [{"b": 2 / 3, "a": 1 - i / 1000} for i in range(200)],
            "p_click": [0.5] * 200,
        }
    )
    tasks = {
        "tags": {"kind": "multilabel", "oracle": "p"},
        "click": {"kind": "binary", "oracle": "p_click"},
    }
    data = DataModule.from_frame(rows, features={"item": "categorical"}, tasks=tasks, cache_dir=tmp_path)
    prepared = data.prepare()
    assert prepared.schema.raw == ("p_click", "p.tags.0", "p.tags.1")
    batch = prepared.stores["train"].batch(slice(0, 5))
    assert batch.raw["p.tags.1"].tolist() == pytest.approx([2 / 3] * 5)
    assert batch.raw["p.tags.0"].min() > 0.79
    again = Transforms.from_dict(prepared.transforms.to_dict())
    few = rows.slice(0, 3)
    np.testing.assert_array_equal(again.encode(few).raw["p.tags.0"], [1.0, 0.999, 0.998])
    assert again.encode({"item": [1, 2]}).raw["p.tags.1"].isnan().all()
    columns = {name: few[name].to_pylist() for name in ("item", "p", "p_click")}
    served = RowEncoder(again).encode(columns, 3)
    assert served["raw/p_click"].tolist() == [0.5] * 3
    assert np.isnan(served["raw/p.tags.0"]).all()


def test_expected_auc_of_several_labels_is_the_mean_over_them() -> None:
    generator = torch.Generator().manual_seed(0)
    task = Task(name="tags", kind="multilabel", label="tags", oracle="p", classes=3)
    chance, score = torch.rand(2, 500, 3, generator=generator, dtype=torch.float64)
    raw = {f"p.tags.{k}": chance[:, k] for k in range(3)}
    target = Target(label=torch.zeros(500, 3), mask=torch.arange(500) % 5 != 0, raw=raw)
    for kind in (ExpectedAUC, OracleAUC):
        metric, single = kind(task), []
        metric.update(score, target)
        for k in range(3):
            first = kind(Task(name="tag", kind="binary", label="tag", oracle=f"p.tags.{k}"))
            first.update(score[:, k], Target(label=torch.zeros(500, 1), mask=target.mask, raw=raw))
            single.append(first.compute())
        torch.testing.assert_close(metric.compute(), torch.stack(single).mean())


def test_a_raw_column_that_is_a_record_is_none() -> None:
    transforms = Transforms(build_features({"item": "categorical"}), [], raw=["p"])
    with pytest.raises(DataError, match="holds struct"):
        transforms.encode_raw(pa.table({"p": [{"a": 1.0}]}))
