"""Worlds that compare encoders: what decides a click is the only thing that says anything about it."""

import numpy as np
import pytest

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.simulator import worlds
from mtl_lightning.data.sources.simulator import WORLDS, Simulator
from mtl_lightning.data.targets.tasks import build_tasks
from mtl_lightning.errors import DataError

SIZES = {
    "long_interest": {"rows": 24_000, "users": 20, "items": 200},
    "next_action": {"rows": 40_000, "users": 100, "items": 60},
    "crosses": {"rows": 60_000, "users": 100, "items": 60},
}


def frame_of(name, **options):
    return Simulator(scenario=name, **(SIZES[name] | options)).rows().to_pandas()


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_has_its_columns_and_depends_on_its_seed(name):
    source = Simulator(scenario=name, **SIZES[name])
    schema, frame = source.schema(), frame_of(name)
    assert list(frame.columns) == list(schema.columns)
    assert len(frame) == SIZES[name]["rows"]
    assert frame.timestamp.is_monotonic_increasing
    build_features(schema.features)
    assert [task.oracle for task in build_tasks(schema.tasks)] == ["oracle_click"]
    assert frame.equals(frame_of(name))
    assert not frame.equals(frame_of(name, seed=1))
    assert len(frame_of(name, rows=7, users=5, items=3)) == 7
    with pytest.raises(DataError, match="can't be shuffled"):
        frame_of(name, shuffled=True)


@pytest.mark.parametrize("name", WORLDS)
def test_the_oracle_is_the_mean_of_the_label(name):
    frame = frame_of(name)
    by = frame.oracle_click.round(3)
    count = frame.groupby(by).click.size()
    error = (frame.click - frame.oracle_click).groupby(by).mean()
    assert len(count) > 1
    assert (error.abs() < 4 * np.sqrt(0.25 / count)).all()


@pytest.mark.parametrize("name", WORLDS)
def test_no_column_alone_says_anything(name):
    frame = frame_of(name)
    for column in [part for part in frame.columns if part.startswith(("item", "category", "field"))]:
        groups = frame.oracle_click.groupby(frame[column])
        spread = groups.std() / np.sqrt(groups.size())
        assert ((groups.mean() - frame.oracle_click.mean()).abs() < 5 * spread + 1e-9).all(), column


def test_a_click_of_long_interest_repeats_the_last_decision_about_the_item():
    frame = frame_of("long_interest")
    last = frame.groupby(["user_id", "item_id"]).click.shift()
    step = frame.groupby("user_id").cumcount()
    assert set((step - step.groupby([frame.user_id, frame.item_id]).shift()).dropna()) == {200}
    repeat = frame.repeat == 1
    assert (repeat == (step // 200 % 2 == 1)).all()
    expected = np.where(last[repeat] == 1, worlds.HABIT, 1 - worlds.HABIT)
    np.testing.assert_allclose(frame.oracle_click[repeat], expected, rtol=1e-6)
    assert set(frame.oracle_click[~repeat]) == {0.5}
    # Nothing is left of a pair at the next one.
    later = frame[repeat].groupby(["user_id", "item_id"]).click
    assert abs(np.corrcoef(later.nth(0), later.nth(1))[0, 1]) < 0.06


def test_a_click_of_next_action_follows_the_category_before():
    frame = frame_of("next_action")
    before = frame.groupby("user_id").category.shift()
    known = before.notna()
    likely = frame[known & (frame.oracle_click > 0.5)]
    followers = likely.category.groupby(before[likely.index]).agg(["nunique", "first"])
    assert (followers["nunique"] == 1).all()
    assert sorted(followers["first"]) == list(range(worlds.CATEGORIES))
    expected = frame.category[known] == before[known].map(followers["first"])
    assert (expected == (frame.oracle_click[known] > 0.5)).all()


def test_crosses_need_three_fields():
    frame = frame_of("crosses")
    logit = np.log(frame.oracle_click / (1 - frame.oracle_click))
    codes = [frame[f"field_{i}"] for i in range(worlds.FIELDS)]
    pairs = [logit.groupby([a, b]).mean().std() for i, a in enumerate(codes) for b in codes[:i]]
    noise = logit.std() / np.sqrt(len(frame) / worlds.VALUES**2)
    assert max(pairs) < 1.6 * noise
    triples = [
        logit.groupby([codes[i], codes[j], codes[k]]).mean().abs().mean()
        for i in range(worlds.FIELDS) for j in range(i) for k in range(j)
    ]  # fmt: skip
    assert sum(value > 0.7 * worlds.STRENGTH for value in triples) == worlds.CROSSES


def auc(name, encoder, source, epochs, tmp_path, features=None):
    """Expected AUC on the test split after training with one trunk."""
    from lightning.pytorch import Trainer, seed_everything

    simulator = Simulator(scenario=name, **source)
    features = {**simulator.schema().features, **(features or {})}
    data = DataModule(simulator, features=features, batch_size=256, eval_batch_size=1024, cache_dir=tmp_path)
    data.prepare()
    seed_everything(0, verbose=False)
    module = build_module(
        data.schema, encoder=encoder, architecture="shared_bottom", weighter="sum",
        metrics={"click": ["expected_auc"]}, optimizer={"lr": 3e-3, "table_lr": 0.1, "schedule": "linear"},
    )  # fmt: skip
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, use_distributed_sampler=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return trainer.test(module, datamodule=data, verbose=False)[0]["test/click/expected_auc"]


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["transformer", "hstu"])
def test_order_beats_a_bag_where_the_latest_event_counts(encoder, tmp_path):
    source = {"rows": 40_000, "users": 400, "items": 60}
    bag = auc("next_action", "din", source, 2, tmp_path)
    assert auc("next_action", encoder, source, 2, tmp_path) > bag + 0.02
