"""Rows of a class that training did not have are left out of the metrics of a multiclass task, not counted as wrong."""

import pyarrow as pa
import pytest
import torch

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.interfaces import Target
from mtl_lightning.plugins import registry

TRAIN = ["red", "green", "red", "blue", "green", "red"]
TEST = ["red", "violet", "green", "violet", "blue"]
KNOWN = [True, False, True, False, True]


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    table = lambda colours: pa.table({"user": [str(i) for i in range(len(colours))], "colour": colours})  # noqa: E731
    data = DataModule.from_frame(
        {"train": table(TRAIN), "validation": table(TRAIN), "test": table(TEST)},
        features={"user": {"kind": "categorical"}},
        tasks={"next": {"kind": "multiclass", "label": "colour"}},
        split={"by": "given"},
        batch_size=8,
        cache_dir=tmp_path_factory.mktemp("cache"),
    )
    data.prepare()
    data.setup("test")
    return data.schema, next(iter(data.test_dataloader()))


def test_the_label_is_unknown(batch):
    schema, rows = batch
    assert schema.tasks[0].classes == 3
    assert rows.mask[:, 0].tolist() == KNOWN


@pytest.mark.parametrize(("name", "expected"), [("accuracy", 2 / 3), ("macro_f1", (1 + 2 / 3 + 0) / 3)])
def test_metrics_count_the_rows_of_known_classes_only(batch, name, expected):
    """Classes in order: blue, green, red. Right on red and green; blue is taken for green; violet is not asked for."""
    schema, rows = batch
    metric = registry().resolve("metric", name)(schema.tasks[0])
    chosen = torch.tensor([2, 0, 1, 2, 1])
    metric.update(
        torch.nn.functional.one_hot(chosen, 3).float(), Target(label=rows.labels[:, :1], mask=rows.mask[:, 0])
    )
    assert metric.compute().item() == pytest.approx(expected)
