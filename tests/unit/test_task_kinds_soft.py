"""Labels between 0 and 1: declared by a kind, learned by bce, measured only by metrics that are defined for them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer

from mtl_lightning.analysis.detailed_evaluation import evaluate_split
from mtl_lightning.batch import Target
from mtl_lightning.build import build_data, module_from_config
from mtl_lightning.config import validate
from mtl_lightning.data.store.loader import Loader
from mtl_lightning.errors import ConfigError, DataError
from mtl_lightning.metrics.binary.auc import AUC
from mtl_lightning.schema import Task

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)


def recipe(tmp_path: Path, kind: str = "soft_binary", **changes: object) -> dict[str, object]:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"user": random.integers(0, 8, 600)})
    rows["agreement"] = np.clip(rows["user"] / 8 + random.normal(0, 0.05, 600), 0, 1)
    rows["click"] = (random.random(600) < rows["agreement"]).astype(int)
    rows.to_csv(tmp_path / "log.csv", index=False)
    tasks = {"toxic": {"kind": kind, "label": "agreement"}, "click": {"kind": "binary", "label": "click"}}
    return {
        "source": {"name": "table", "path": str(tmp_path / "log.csv")},
        "features": {"user": "categorical"},
        "tasks": tasks,
        "data": {"cache_dir": str(tmp_path / "cache"), "batch_size": 64},
        "encoder": "embedding",
        "architecture": "shared_bottom",
        "weighter": "sum",
        "optimizer": {"lr": 0.02, "table_lr": 0.2},
        "trainer": {"max_epochs": 1},
        **changes,
    }


def test_probabilities_are_learned_from_them(tmp_path: Path) -> None:
    config = validate(recipe(tmp_path))
    assert (config.heads["toxic"].name, config.losses["toxic"].name) == ("binary", "bce")
    data = build_data(config)
    assert data.schema.task("toxic").mean == pytest.approx(0.44, abs=0.05)
    module = module_from_config(config, data.schema)
    trainer = Trainer(max_epochs=12, accelerator="cpu", **QUIET)
    trainer.fit(module, data)
    (tested,) = trainer.test(module, data, verbose=False)
    assert tested["test/toxic/calibration"] == pytest.approx(1, abs=0.1)
    assert tested["test/toxic/normalized_entropy"] < 0.95
    evaluation = evaluate_split(module, Loader(data.prepared.stores["test"], 64), {})
    assert list(evaluation["thresholds"]) == ["click"]  # which rows are positive is known of hard labels only
    assert sorted(evaluation["reliability"]) == ["click", "toxic"]
    assert "toxic/ece" in evaluation["metrics"]
    assert "toxic/pr_auc" not in evaluation["metrics"]


def test_they_must_be_declared_and_between_0_and_1(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not 0 or 1 in row .*kind: soft_binary"):
        build_data(validate(recipe(tmp_path, "binary"))).prepare()
    config = recipe(tmp_path)
    config["tasks"]["toxic"]["label"] = "agreement * 2"
    with pytest.raises(DataError, match=r"not between 0 and 1 in row"):
        build_data(validate(config)).prepare()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": {"toxic": ["f1"]}}, r"metrics.toxic.0: serves tasks that are binary, and 'toxic' is soft_binary"),
        ({"metrics": {"toxic": ["pr_auc"]}}, r"metrics.toxic.0: serves tasks that are binary, multilabel, and"),
        ({"metrics": {"toxic": ["accuracy"]}}, r"metrics.toxic.0: serves tasks that are binary, multiclass"),
        ({"losses": {"toxic": "focal"}}, r"losses.toxic: serves tasks that are binary, multilabel"),
        ({"heads": {"toxic": "jrc"}}, r"heads.toxic: serves tasks that are binary"),
    ],
)
def test_what_needs_hard_labels_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(recipe(tmp_path, **changes))


def test_they_cannot_be_the_labels_of_a_parent(tmp_path: Path) -> None:
    config = recipe(tmp_path)
    config["tasks"]["click"]["parents"] = ["toxic"]
    with pytest.raises(ConfigError, match=r"tasks.click.parents.0: 'toxic' has labels between 0 and 1"):
        validate(config)


def test_auc_is_that_of_labels_drawn_with_these_chances() -> None:
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(6, generator=generator, dtype=torch.float64)
    chance = torch.rand(6, generator=generator, dtype=torch.float64)
    metric = AUC(Task(name="toxic", kind="soft_binary", label="agreement"), exact=True)
    metric.update(score, Target(label=chance[:, None], mask=torch.ones(6, dtype=torch.bool)))
    won = pairs = 0.0
    for i in range(6):
        for j in range(6):
            if i != j:
                pair = float(chance[i] * (1 - chance[j]))
                pairs += pair
                won += pair * float(score[i] > score[j])
    assert metric.compute().item() == pytest.approx(won / pairs, rel=1e-12)
