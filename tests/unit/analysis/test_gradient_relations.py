"""Every run reports relations of gradients; a task that overfits is named."""

import math
import re

import pyarrow as pa
import pytest
import torch
from lightning.pytorch import Trainer

from mtl_lightning.analysis.divergence import Divergence, DivergenceCallback
from mtl_lightning.analysis.gradient_relations import GradientRelations, RelationsCallback
from mtl_lightning.build import build_module
from mtl_lightning.config import compose, validate
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.errors import ConfigError


def noise(rows):
    """Labels that no feature says anything about, under ids that let training rows be remembered."""
    random = torch.Generator().manual_seed(rows)
    return pa.table({
        "user": torch.randint(0, 200, (rows,), generator=random).tolist(),
        "like": torch.randint(0, 2, (rows,), generator=random).tolist(),
        "hide": torch.randint(0, 2, (rows,), generator=random).tolist(),
    })  # fmt: skip


@pytest.fixture
def data(tmp_path):
    rows = {"train": noise(300), "validation": noise(600)}
    tasks = {name: {"kind": "binary", "label": name} for name in ("like", "hide")}
    return DataModule.from_frame(
        rows, features={"user": {"kind": "categorical"}}, tasks=tasks, split={"by": "given"}, batch_size=64,
        cache_dir=tmp_path,
    )  # fmt: skip


def trainer(epochs, *callbacks):
    return Trainer(
        max_epochs=epochs, callbacks=list(callbacks), logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def module(data):
    data.prepare()
    torch.manual_seed(0)
    options = {"lr": 0.01, "table_lr": 0.1}
    return build_module(data.schema, optimizer=options, metrics={name: ["log_loss"] for name in ("like", "hide")})


@pytest.mark.filterwarnings("ignore:The 'train_dataloader':UserWarning", "ignore:The 'val_dataloader':UserWarning")
def test_a_planted_overfit_is_named(data):
    with pytest.warns(UserWarning, match="overfits") as caught:
        trainer(12, DivergenceCallback(2)).fit(module(data), datamodule=data)
    said = [str(item.message) for item in caught if "overfits" in str(item.message)]
    assert {re.split(" ", message)[0] for message in said} == {"like", "hide"}
    assert all("log_loss" in message and "table_lr" in message for message in said)


def test_what_improves_or_is_not_defined_does_not_diverge():
    divergence = Divergence(1)
    rows = [(0.9, 0.5), (0.8, 0.6), (0.85, 0.5), (math.nan, 0.1), (0.9, 0.1)]
    assert not any(divergence.add("click", *row) for row in rows)
    assert divergence.add("click", 0.5, 0.05)


def test_sampling_relations_changes_no_weight(data):
    trained = []
    for callbacks in ((), (RelationsCallback(every=2),)):
        network = module(data)
        trainer(2, *callbacks).fit(network, datamodule=data)
        trained.append(network.state_dict())
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())
    pair = callbacks[0].relations.summary()["pairs"][0]
    assert pair["tasks"] == ["like", "hide"]
    assert pair["steps"] == 5
    assert -1 <= pair["cosine"] <= 1


def test_relations_go_on_where_they_were_saved():
    callback, other = RelationsCallback(), RelationsCallback()
    callback.relations = GradientRelations(("like", "hide"))
    callback.relations.add(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]))
    other.load_state_dict(callback.state_dict())
    other.relations.add(torch.eye(2))
    whole = GradientRelations(("like", "hide"))
    whole.add(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]))
    whole.add(torch.eye(2))
    assert other.relations.summary() == whole.summary()
    (pair,) = other.relations.summary()["pairs"]
    assert (pair["cosine"], pair["conflicting"], pair["steps"]) == (-0.25, 0.5, 2)


def test_a_metric_without_direction_cannot_count_in_the_score():
    plain = compose("ads", ["metrics.click=[calibration,auc]"]).plain
    with pytest.raises(ConfigError, match="neither higher nor lower"):
        validate(plain)
    assert validate(compose("ads", ["metrics.click=[auc,calibration]"]).plain).metrics["click"][1].name == "calibration"


@pytest.mark.parametrize("name", ["relations", "divergence"])
def test_intervals_are_not_negative(name):
    with pytest.raises(ConfigError, match=name):
        validate(compose("ads", [f"run.{name}=-1"]).plain)
