"""Backward elimination: features that replace each other, crosses, needed features, and names in settings."""

import math

import pytest

from mtl_lightning.compare.statistics import Difference
from mtl_lightning.config.pairs import read_overrides
from mtl_lightning.data.features.build import build_features
from mtl_lightning.importance.elimination import eliminate, removals

FEATURES = build_features({
    **dict.fromkeys(("strong", "first", "second", "none", "scenario"), "categorical"),
    "crossed": {"kind": "cross", "of": ["none", "scenario"]},
})  # fmt: skip
ITEMS = {name: (name,) for name in FEATURES}


def losses(names):
    """Loss of a model that needs ``strong``, and one of ``first`` and ``second``; another task needs ``crossed``."""
    replaced = 0.2 if {"first", "second"} <= set(names) else 0.0
    score = 0.5 * ("strong" in names) + replaced
    buy = 0.001 * ("crossed" in names)
    return {
        "score": Difference(score, score - 0.01, score + 0.01),
        "buy": Difference(buy, buy - 0.0001, buy + 0.0001),
        "undefined": Difference(math.nan, math.nan, math.nan),
    }


def gone(max_loss, items=ITEMS, needed=("scenario",)):
    steps = eliminate(items, FEATURES, losses, lambda names: not set(needed) & set(names), max_loss)
    assert {step.name for step in steps} == set(items)
    return next((step.features for step in reversed(steps) if step.goes), ())


def test_of_two_features_that_replace_each_other_one_stays():
    assert gone(0.0) == ("first",)


def test_a_cross_goes_with_its_features_if_no_task_loses_more_than_is_accepted():
    assert gone(0.01) == ("first", "none", "crossed")


def test_groups_go_as_one():
    items = {"pair": ("first", "second"), "none": ("none",), "strong": ("strong",)}
    assert gone(0.01, items) == ("none", "crossed")
    assert gone(0.3, items) == ("first", "second", "none", "crossed")


def test_one_feature_is_left():
    assert len(gone(9.0, needed=())) == len(FEATURES) - 1


def test_what_a_recipe_needs_is_not_measured():
    steps = eliminate(ITEMS, FEATURES, losses, lambda names: "scenario" not in names)
    assert [(step.name, step.losses, step.goes) for step in steps if not step.losses] == [("scenario", {}, False)]
    assert steps[-1].to_dict()["losses"]["undefined"] == {"mean": None, "low": None, "high": None}


@pytest.mark.parametrize("name", ["user", "a.b", "a[b]", "[x]", "ü b"])
def test_removals_are_read_back(name):
    assert read_overrides(removals([name])) == {"features": {name: None}}
    settings = read_overrides(removals([name], ["age", name]))
    assert settings == {"features": {name: None}, "data": {"per_request": ["age"]}}
    assert removals([name], ["age"]) == removals([name])
