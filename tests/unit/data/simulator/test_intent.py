"""Short-term intents: what the latest clicks say about the next, and oracles that know it."""

import numpy as np
import pytest

from mtl_lightning.data.simulator.intent import CLICKS, TURN, points
from mtl_lightning.data.sources.simulator import SCENARIOS, Simulator
from mtl_lightning.errors import DataError

FIRST = {"ads": "click", "ecommerce": "view", "news": "click", "social": "like"}
"""First outcome of each scenario with intents."""
SIZE = {"rows": 12_000, "users": 40, "items": 20}


def log(scenario, **options):
    return Simulator(scenario=scenario, **(SIZE | options)).rows().to_pandas()


def logit(chance):
    return np.log(chance / (1 - chance))


@pytest.mark.parametrize("scenario", FIRST)
def test_the_oracle_is_the_mean_of_the_first_outcome(scenario):
    frame, label = log(scenario, intent=2.0), FIRST[scenario]
    by = (10 * frame[f"oracle_{label}"]).astype(int)
    count = frame.groupby(by)[label].size()
    error = (frame[label] - frame[f"oracle_{label}"]).groupby(by).mean()
    assert len(count) > 5
    assert (error.abs() < 5 * np.sqrt(0.25 / count)).all()
    assert 0.1 < frame[label].mean() < 0.45


def test_an_intent_is_made_of_the_latest_clicks_and_nothing_else():
    """The effect of the intent, computed again from the log, is the whole difference between equal rows."""
    source = Simulator(scenario="ads", intent=2.0, **SIZE)
    scenario = source._kind()(source.size)
    frame = source.rows().to_pandas()
    angle = dict(zip(scenario.categories, scenario.angles, strict=True))
    place = points(np.array([angle[category] for category in frame.category]))
    after = points(np.array([angle[category] for category in frame.category]) + TURN)
    intent, clicks = np.zeros((len(frame), 2)), {}
    for _, rows in frame.groupby("request_id"):
        before = clicks.setdefault(rows.user_id.iloc[0], [])
        if before:
            intent[rows.index] = np.mean(before[-CLICKS:], axis=0)
        before.extend(after[rows.index[rows.click == 1]])
    effect = np.sqrt(2) * 2.0 * (intent * place).sum(axis=1)
    others = logit(frame.oracle_click.to_numpy()) - effect
    # All other terms depend on user, item, position, hour and device.
    equal = frame.assign(others=others).groupby(["user_id", "item_id", "position", "hour", "device"]).others
    assert (equal.size() > 1).sum() > 500
    assert (equal.max() - equal.min()).max() < 1e-3
    assert effect.std() > 1


def test_without_intents_logs_are_what_they_were():
    plain, again = log("social"), log("social", intent=0.0)
    assert plain.equals(again)
    assert not plain.like.equals(log("social", intent=2.0).like)


def test_intents_depend_on_the_seed_only():
    assert log("news", intent=1.0).click.equals(log("news", intent=1.0).click)
    assert not log("news", intent=1.0).click.equals(log("news", intent=1.0, seed=1).click)


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in FIRST])
def test_scenarios_without_intents_refuse_them(scenario):
    with pytest.raises(DataError, match="has no intents"):
        Simulator(scenario=scenario, intent=1.0).schema()


def test_a_negative_intent_is_refused():
    with pytest.raises(DataError, match=r"source\.intent"):
        Simulator(intent=-1.0)
