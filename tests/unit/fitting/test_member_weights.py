"""Weights of members: the best ones on the validation rows, recorded, drawn, and saved with the checkpoint."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from sklearn.metrics import roc_auc_score

import mtl_lightning
from mtl_lightning.architectures.example import example
from mtl_lightning.build import build_module
from mtl_lightning.fitting.member_weights import MemberWeights, weight_grid
from mtl_lightning.report.run.page import write_page
from mtl_lightning.runs.directory import RunDirectory


@pytest.mark.parametrize(("members", "count"), [(1, 1), (2, 5), (3, 15)])
def test_weights_have_sum_one_and_start_with_the_most_equal(members, count):
    grid = weight_grid(members)
    assert torch.equal(grid.sum(1), torch.ones(count))
    assert len(set(map(tuple, grid.tolist()))) == count
    assert grid[0].max() == grid.max(1).values.min()


def test_a_validation_has_the_best_weights_and_its_checkpoint_keeps_them(tmp_path):
    settings = ["source.rows=3000", "source.users=40", "source.items=20", "data.batch_size=128", "split.validation=0.3"]
    settings += ["architecture=dual_path", "trainer.max_epochs=2"]
    settings += [f"data.cache_dir={tmp_path / 'cache'}", f"run.dir={tmp_path / 'run'}", "trainer.log_every_n_steps=1"]
    result = mtl_lightning.fit("conflict", *settings, quiet=True)
    record = json.loads((result.run.path / "metrics.json").read_text())
    assert record["members"]["names"] == ["own", "shared"]
    best = max(record["validations"], key=lambda entry: entry["metrics"]["validation/score"])
    chosen = next(entry for entry in record["members"]["validations"] if entry["step"] == best["step"])["tasks"]
    network = result.module.network
    outputs, targets = [], []
    for batch in result.data.val_dataloader():
        predicted, _ = network.outputs(batch)
        outputs.append({task: network.head(task).predictions(predicted[task], batch.raw) for task in predicted})
        targets.append(network.targets(batch))
    grid = weight_grid(2)
    for task, entry in chosen.items():
        assert network.head(task).weights.tolist() == entry["weights"]
        label = torch.cat([part[task].label[:, 0] for part in targets])
        predictions = torch.cat([part[task] for part in outputs], dim=1).detach()
        values = [roc_auc_score(label, weights @ predictions) for weights in grid]
        own = values[grid.tolist().index(entry["weights"])]
        assert own == pytest.approx(max(values), abs=1e-3)  # the metric has bins
        assert best["metrics"][f"validation/{task}/auc"] == pytest.approx(own, abs=1e-3)
        assert entry["alone"] == pytest.approx({"own": values[4], "shared": values[3]}, abs=1e-3)
    assert network.architecture.joined.tolist() == [float(entry["weights"][1] > 0) for entry in chosen.values()]
    page = write_page(result.run).read_text()
    assert "Weights of the tasks&#x27; members" in page


def test_undefined_metrics_keep_weights_and_a_repeated_validation_replaces_its_record(tmp_path, monkeypatch):
    callback = MemberWeights(RunDirectory(tmp_path))
    module = build_module(example(2)[0], architecture={"name": "dual_path", "hidden": [4]})
    state = SimpleNamespace(fn=TrainerFn.FITTING)
    trainer = SimpleNamespace(sanity_checking=False, state=state, global_step=3, loggers=[], is_global_zero=True)
    values = {"a": [math.nan] * 5, "b": [0.5, 0.6, 0.6, math.nan, 0.1]}
    monkeypatch.setattr(MemberWeights, "_values", lambda *_: values)
    for _ in range(2):
        callback.on_validation_start(trainer, module)
    (entry,) = json.loads((tmp_path / "metrics.json").read_text())["members"]["validations"]
    assert entry["step"] == 3
    assert entry["tasks"]["a"] == {"weights": [0.5, 0.5], "alone": {"own": None, "shared": None}}
    assert entry["tasks"]["b"] == {"weights": [0.25, 0.75], "alone": {"own": 0.1, "shared": None}}
    values["b"] = [0.5, 0.6, 0.6, 0.1, 0.7]
    callback.on_validation_start(trainer, module)
    assert module.network.architecture.joined.tolist() == [1.0, 0.0]
    for skipped in ({"sanity_checking": True}, {"state": SimpleNamespace(fn=TrainerFn.VALIDATING)}):
        callback.on_validation_start(SimpleNamespace(**{**vars(trainer), **skipped, "loggers": None}), module)
    module = build_module(example(2)[0])
    callback.on_validation_start(trainer, module)  # an architecture without members
