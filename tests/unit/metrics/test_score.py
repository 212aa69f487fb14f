"""The overall score leaves out undefined metrics."""

import math

import pytest

from mtl_lightning.metrics.score import overall_score


def test_score_leaves_out_what_is_not_defined():
    values = {"click": 0.8, "buy": math.nan, "dwell": 0.25, "ignored": 99.0}
    weights = {"click": 1.0, "buy": 5.0, "dwell": 3.0, "ignored": 0.0}
    assert overall_score(values, weights) == pytest.approx((0.8 + 3 * 0.25) / 4)
    assert overall_score(values, weights, {"dwell"}) == pytest.approx((0.8 - 3 * 0.25) / 4)
    assert math.isnan(overall_score({"buy": math.nan}, {"buy": 1.0}))
    assert math.isnan(overall_score({"buy": 1.0}, {"buy": 0.0}))
