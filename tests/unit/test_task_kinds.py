"""A kind of task is its record: one more record is enough for data, models, metrics and comparisons."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer

from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.compare.statistics import METRICS, metric_name, metric_of
from mtl_lightning.config import validate
from mtl_lightning.errors import ConfigError, DataError
from mtl_lightning.plugins import registry
from mtl_lightning.schema import TASK_KINDS, Schema, Task, TaskKind
from mtl_lightning.task_kinds import LabelRange
from mtl_lightning.testing.example import example_label, example_prediction, example_target, example_task
from mtl_lightning.testing.head import in_range

SHARE = TaskKind(
    name="share",
    labels=LabelRange(lowest=0, highest=1, refusal="not a share", remedy="divide it by the duration"),
    head="regression",
    served_as=("regression",),
    default_metrics=("r2", "mae"),
)
"""The watched share of a video: a number from 0 to 1, served by the components of regression."""


@pytest.fixture
def _share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASK_KINDS, "share", SHARE)


def write_log(path: Path, largest: float = 1.0) -> str:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"user": random.integers(0, 8, 400), "watched": random.random(400) * largest})
    rows["click"] = (rows["watched"] + random.normal(0, 0.2, 400) > 0.5).astype(int)
    rows.to_csv(path, index=False)
    return str(path)


def recipe(tmp_path: Path, kind: str = "share", **options: object) -> dict[str, object]:
    return {
        "source": {"name": "table", "path": write_log(tmp_path / "log.csv")},
        "features": {"user": "categorical"},
        "tasks": {
            "watched": {"kind": kind, "label": "watched", **options},
            "click": {"kind": "binary", "label": "click"},
        },
        "data": {"cache_dir": str(tmp_path / "cache"), "batch_size": 64},
        "encoder": "embedding",
        "architecture": "shared_bottom",
        "weighter": "sum",
        "trainer": {"max_epochs": 1},
    }


@pytest.mark.usefixtures("_share")
def test_a_new_record_is_validated_prepared_trained_measured_and_compared(tmp_path: Path) -> None:
    config = validate(recipe(tmp_path))
    assert config.heads["watched"].name == "regression"
    assert config.losses["watched"].name == "mse"
    assert [metric.name for metric in config.metrics["watched"]] == ["r2", "mae"]

    data = build_data(config)
    task = data.schema.task("watched")
    assert task.kind == "share"
    assert task.mean == pytest.approx(0.5, abs=0.05)
    assert Schema.from_dict(data.schema.to_dict()) == data.schema

    module = module_from_config(config, data.schema)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    trainer = Trainer(max_steps=3, accelerator="cpu", **quiet)
    head = module.network.heads["watched"]
    before = [parameter.detach().clone() for parameter in head.parameters()]
    trainer.fit(module, data)
    assert trainer.global_step == 3
    assert any((old != new).any() for old, new in zip(before, head.parameters(), strict=True))
    (tested,) = trainer.test(module, data, verbose=False)
    assert tested["test/watched/mae"] < 0.6

    assert metric_name("share") == ("rmse", False)
    label = np.array([0.0, 1.0])
    assert metric_of("share", label, np.array([0.0, 0.0]))(np.ones(2)) == pytest.approx(np.sqrt(0.5))


@pytest.mark.usefixtures("_share")
def test_a_new_record_decides_on_labels_and_components(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="serves tasks that are binary, soft_binary, and 'watched' is share"):
        validate({**recipe(tmp_path), "heads": {"watched": "binary"}})
    config = validate(recipe(tmp_path))
    write_log(tmp_path / "log.csv", largest=2.0)
    with pytest.raises(
        DataError, match=r"the label 'watched' is 1\.\d+, not a share in row .* \(divide it by the duration\)"
    ):
        build_data(config).prepare()


@pytest.mark.usefixtures("_share")
def test_the_contract_kit_draws_examples_from_a_new_record() -> None:
    task = example_task("share")
    labels = example_target(task).label
    assert ((labels >= 0) & (labels <= 1)).all()
    assert len(labels.unique()) > 4
    assert in_range("share", example_prediction(task))
    assert not in_range("share", example_prediction(task) + 1)


def test_without_its_record_a_kind_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tasks\.watched\.kind: no kind 'share' of task"):
        validate(recipe(tmp_path))
    with pytest.raises(DataError, match=r"no kind of task is called 'ordinl' \(did you mean 'ordinal'\?\)"):
        Schema((), (Task(name="stars", kind="ordinl", label="stars"),)).label_width  # noqa: B018


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_records_agree_with_the_components_that_they_name(kind: str) -> None:
    record = TASK_KINDS[kind]
    assert record.name == kind
    head = registry().resolve("head", record.head)
    assert record.served_by(head.kinds)
    assert record.served_by(registry().resolve("loss", head.loss).kinds)
    assert record.compared_by in METRICS
    assert not record.several or record.fits_classes
    task = example_task(kind)
    assert example_prediction(task, 6).shape == ((6,) if record.scalar else (6, task.classes))
    assert example_label(task, 6, torch.Generator()).shape == (6, task.width)
    assert in_range(kind, example_prediction(task))
