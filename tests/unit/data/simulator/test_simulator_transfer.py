"""Worlds with known transfer between tasks: their tastes are as described, and shuffling leaves nothing."""

import numpy as np
import pytest

from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.errors import DataError

TASKS = {
    "conflict": ("like", "save", "hide"),
    "agreement": ("like", "save", "share"),
    "rare": ("like", "save", "comment", "share", "follow", "subscribe", "report"),
}


def log(scenario, **options):
    return Simulator(scenario=scenario, rows=40_000, users=150, items=100, **options).rows().to_pandas()


def logits(frame, tasks):
    return {name: np.log(frame[f"oracle_{name}"] / (1 - frame[f"oracle_{name}"])) for name in tasks}


@pytest.mark.parametrize(
    ("scenario", "low", "high"), [("conflict", -0.95, -0.6), ("agreement", 0.9, 1.0), ("rare", -0.7, -0.3)]
)
def test_the_last_task_is_opposed_or_agrees(scenario, low, high):
    first, *others, last = logits(log(scenario), TASKS[scenario]).values()
    assert all(np.corrcoef(first, other)[0, 1] > 0.9 for other in others)
    assert low < np.corrcoef(first, last)[0, 1] < high


@pytest.mark.parametrize("scenario", TASKS)
def test_shuffled_outcomes_have_nothing_to_do_with_their_rows(scenario):
    plain, shuffled = log(scenario), log(scenario, shuffled=True)
    assert (plain[["user_id", "post_id", "timestamp"]] == shuffled[["user_id", "post_id", "timestamp"]]).all(axis=None)
    for task in TASKS[scenario]:
        chance = plain[f"oracle_{task}"]
        assert shuffled[task].mean() == plain[task].mean()
        assert np.corrcoef(plain[task], chance)[0, 1] > 0.2 * np.sqrt(plain[task].mean())
        assert abs(np.corrcoef(shuffled[task], chance)[0, 1]) < 4 / np.sqrt(len(plain))
        assert shuffled[f"oracle_{task}"].mean() == pytest.approx(shuffled[task].mean(), abs=0.01)
        assert shuffled[f"oracle_{task}"].nunique() == 1


def test_three_of_seven_tasks_are_rare():
    rates = log("rare")[list(TASKS["rare"])].mean()
    assert (rates < 0.01).tolist() == [False] * 4 + [True] * 3
    assert (rates > 0.003).all()


def test_tasks_of_a_shuffled_row_stay_together():
    frame = log("agreement", shuffled=True)
    assert np.corrcoef(frame.like, frame.save)[0, 1] > 0.1


def test_a_scenario_with_a_funnel_is_not_shuffled():
    with pytest.raises(DataError, match=r"these can: agreement, conflict, rare"):
        Simulator(scenario="ads", rows=10, shuffled=True).rows()
