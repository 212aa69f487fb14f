"""Ranks of configurations against scipy-free definitions, and groups that don't differ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_lightning.compare.bootstrap import Sampled
from mtl_lightning.compare.ranks import compare_ranks, rank

KINDS = {"click": "binary", "dwell": "regression"}


def model(click: float, dwell: float, noise: float = 1e-4) -> Sampled:
    spread = np.linspace(-noise, noise, 101)
    return Sampled({"click": click, "dwell": dwell}, {"click": click + spread, "dwell": dwell + spread})


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_ranks_are_those_of_a_sorted_list_with_ties_shared(values):
    ordered = sorted(values, reverse=True)
    places = [[i + 1 for i, other in enumerate(ordered) if other == value] for value in values]
    assert rank(np.array(values, dtype=float)).tolist() == [np.mean(place) for place in places]


def test_lower_errors_are_better_and_every_task_and_seed_counts_once():
    models = {"a": {0: model(0.7, 9.0), 1: model(0.7, 9.1)}, "b": {0: model(0.8, 10.0), 1: model(0.8, 9.0)}}
    ranks = compare_ranks(models, KINDS, 0.95)
    assert ranks["blocks"] == 4
    assert ranks["mean"] == {"b": 1.25, "a": 1.75}


def test_groups_are_the_longest_runs_of_neighbours_that_do_not_differ():
    # a and b overlap, b and c overlap, a and c do not: the two bars of the diagram share b.
    values = {"a": 0.80, "b": 0.79, "c": 0.78, "far": 0.5}
    models = {
        name: {seed: model(value + 0.005 * (seed - 1) * (-1) ** i, 9.0, 0.005) for seed in range(3)}
        for i, (name, value) in enumerate(values.items())
    }
    ranks = compare_ranks(models, {"click": "binary"}, 0.95)
    assert list(ranks["mean"]) == ["a", "b", "c", "far"]
    assert ["far"] not in ranks["alike"]
    assert all(len(group) > 1 and "far" not in group for group in ranks["alike"])
    assert ranks["alike"]


@pytest.mark.parametrize("models", [{}, {"a": {0: model(float("nan"), 9.0)}}, {"a": {0: model(0.7, 9)}, "b": {}}])
def test_without_a_common_value_there_are_no_ranks(models):
    kinds = {"click": "binary"}
    assert compare_ranks(models, kinds, 0.95) == {"mean": dict.fromkeys(models), "blocks": 0, "alike": []}
