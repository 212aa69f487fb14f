"""Evaluations on a stand-in for a device: nothing is read until they end, and the results equal a CPU's."""

from typing import Any

import pytest
import torch

from mtl_lightning.analysis.output_relations import OutputRelations
from mtl_lightning.batch import Batch
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from tests.support import device_steps
from tests.support.remote_device import DEVICE, RemoteDevice

BINARY = ["auc", "pr_auc", "ece", "log_loss", "normalized_entropy", "calibration", "expected_auc", "oracle_auc", "f1"]
METRICS = {"click": BINARY, "conversion": [*BINARY, "precision", "recall", "accuracy"], "dwell": ["rmse", "mae", "r2"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataModule:
    module = DataModule(Simulator(rows=2000), batch_size=32, cache_dir=str(tmp_path_factory.mktemp("cache")))
    module.prepare()
    return module


def evaluate(module: Any, batches: list[Batch], relations: OutputRelations) -> None:
    relations._start(module)
    for batch in batches:
        module._evaluate("validation", batch)
        relations._add(module, batch)


@torch.no_grad()
def test_an_evaluation_on_a_device_waits_at_its_end_only(data: DataModule) -> None:
    batches = [rows for loader in (data.val_dataloader(), data.train_dataloader()) for rows in loader][:4]
    near, far = (
        device_steps.build(data.schema, on_device=on_device, architecture="mmoe", metrics=METRICS).eval()
        for on_device in (False, True)
    )
    expected, relations = OutputRelations(), OutputRelations()
    evaluate(near, batches, expected)
    with RemoteDevice() as traffic:
        sent = [near_batch.map(lambda tensor: tensor.to(DEVICE, non_blocking=True)) for near_batch in batches]
        evaluate(far, sent[:1], relations)
        traffic.clear()
        for batch in sent[1:]:
            far._evaluate("validation", batch)
            relations._add(far, batch)
        assert not traffic.reads
        assert not traffic.copies
        assert traffic.launches
        relations._finish("validation", _at(far))
        values = far.suites["validation"].compute()
    expected._finish("validation", near)
    assert values == pytest.approx(near.suites["validation"].compute(), rel=1e-5, nan_ok=True)
    for name in ("labels", "predictions"):
        torch.testing.assert_close(_numbers(relations, name), _numbers(expected, name), equal_nan=True)
    gates, known = relations.summary["validation"]["gates"], expected.summary["validation"]["gates"]
    assert gates.keys() == known.keys()
    for name, use in gates.items():
        assert use["mean"] == pytest.approx(known[name]["mean"], rel=1e-5)
        assert use["evenness"] == pytest.approx(known[name]["evenness"], rel=1e-5)
        assert use["largest"] == known[name]["largest"]


def _at(module: Any) -> Any:
    module._device = DEVICE
    return module


def _numbers(relations: OutputRelations, name: str) -> torch.Tensor:
    rows = relations.summary["validation"][name]["correlation"]
    return torch.tensor([[torch.nan if value is None else value for value in row] for row in rows])
