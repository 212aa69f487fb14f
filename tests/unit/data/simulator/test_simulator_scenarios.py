"""Every scenario: its description holds, its oracles are the means of its labels, its funnels are funnels."""

import functools

import numpy as np
import pandas as pd
import pytest

from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.simulator.articles import VOCABULARY
from mtl_lightning.data.sources.simulator import SCENARIOS, Simulator
from mtl_lightning.data.targets.tasks import build_tasks
from mtl_lightning.errors import DataError

ROWS = 120_000


@functools.cache
def log(scenario):
    return Simulator(scenario=scenario, rows=ROWS, seed=5).rows().to_pandas()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_suggestions_can_be_built_and_no_feature_leaks(scenario):
    schema = Simulator(scenario=scenario).schema()
    table = Simulator(scenario=scenario, rows=5).rows().data.table
    assert {
        name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)
    } == schema.columns
    columns = {column for name, item in build_features(schema.features).items() for column in item.columns(name)}
    assert columns <= set(schema.columns)
    assert not columns & {*schema.oracle, *schema.after_event}
    tasks = build_tasks(schema.tasks)
    assert {task.label for task in tasks} <= set(schema.after_event)
    assert {task.oracle for task in tasks if task.oracle} <= set(schema.oracle)


ORACLES = [
    (scenario, name)
    for scenario in SCENARIOS
    for name, task in Simulator(scenario=scenario).schema().tasks.items()
    if "oracle" in task and task["kind"] not in ("multilabel", "uplift")  # an effect is the mean of no label
]


@pytest.mark.parametrize(("scenario", "name"), ORACLES)
def test_oracle_is_the_mean_of_the_label_wherever_one_looks(scenario, name):
    task = Simulator(scenario=scenario).schema().tasks[name]
    frame = log(scenario)
    seen = frame[frame.eval(task["observed_when"])] if "observed_when" in task else frame
    label, oracle = seen[task["label"]].astype(float), seen[task["oracle"]]
    for by in (pd.qcut(oracle, 8, labels=False), seen.user_segment, seen.position, seen.category, seen.device):
        error = (label - oracle).groupby(by)
        # Where an event is rare there may be none, and no spread to be seen: its variance is at most its chance.
        spread = np.maximum(error.std(), np.sqrt(oracle.groupby(by).mean()))
        assert (error.mean().abs() < 5 * spread / np.sqrt(error.size())).all()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_funnels_hold_and_every_label_occurs(scenario):
    frame, tasks = log(scenario), Simulator(scenario=scenario).schema().tasks
    least = 0.001 if scenario == "rare" else 0.01
    for name, task in tasks.items():
        for parent in task.get("parents", ()):
            assert (frame[name] <= frame[parent]).all()
            assert frame[name].mean() < frame[parent].mean()
        if task["kind"] == "binary":
            assert least < frame[name].mean() < 0.5


def test_shop_rates_what_was_bought_and_follows_what_was_viewed():
    frame = log("ecommerce")
    assert (frame.rating.notna() == (frame.purchase == 1)).all()
    assert set(frame.rating.dropna()) == {1, 2, 3, 4, 5}
    assert (frame.next_category.notna() == (frame["view"] == 1)).all()
    product = frame.oracle_view * frame.oracle_cart_rate * frame.oracle_purchase_rate
    np.testing.assert_allclose(product, frame.oracle_purchase, rtol=1e-5)


def test_best_guess_of_the_next_category_is_right_as_often_as_told():
    frame = log("ecommerce")
    frame = frame[frame["view"] == 1]
    key = [frame.user_segment, frame.category]
    likeliest = frame.next_category.groupby(key).transform(lambda names: names.value_counts().index[0])
    accuracy = (likeliest == frame.next_category).mean()
    assert accuracy == pytest.approx(frame.oracle_next_category.mean(), abs=0.02)
    assert accuracy > 1.5 * (frame.next_category == frame.next_category.mode()[0]).mean()


def test_tags_come_as_often_as_the_text_says():
    source = Simulator(scenario="news", rows=40_000, items=4_000, users=100)
    articles = source.rows().to_pandas()
    names = list(VOCABULARY)
    chance = np.stack([[chances[name] for name in names] for chances in articles.oracle_tags])
    tagged = np.stack([[name in tags for name in names] for tags in articles.tags])
    for low, high in ((0, 0.02), (0.02, 0.2), (0.2, 0.6), (0.6, 0.9), (0.9, 1.01)):
        inside = (chance >= low) & (chance < high)
        error = tagged[inside].mean() - chance[inside].mean()
        assert abs(error) < 4 * np.sqrt(0.25 / inside.sum())
    assert 0.5 < tagged.sum(axis=1).mean() < 4


def test_no_word_belongs_to_two_tags():
    words = [word for text in VOCABULARY.values() for word in text.split()]
    assert len(words) == len(set(words))


def test_likes_and_comments_go_together_more_than_likes_and_follows():
    frame = log("social")
    logit = {
        name: np.log(frame[f"oracle_{name}"] / (1 - frame[f"oracle_{name}"])) for name in ("like", "comment", "follow")
    }
    close = np.corrcoef(logit["like"], logit["comment"])[0, 1]
    far = np.corrcoef(logit["like"], logit["follow"])[0, 1]
    assert 0.2 < far < close < 0.95


@pytest.mark.parametrize("scenario", ["ecommerce", "news", "social"])
def test_only_scenarios_with_delays_can_be_cut_off(scenario):
    with pytest.raises(DataError, match="has no delayed outcomes"):
        Simulator(scenario=scenario, rows=10, delayed=True).rows()
