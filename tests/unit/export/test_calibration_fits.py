"""Maps to calibrated log-odds, against scikit-learn and against what made the labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from mtl_lightning.cli.export import CALIBRATE
from mtl_lightning.export.calibration_fits import CENTRES, METHODS, calibrated, fit, fit_part, probability
from mtl_lightning.export.formula import calibrate
from mtl_lightning.metrics.binary.histogram import BINS


def rows(seed: int, count: int, bend) -> tuple[np.ndarray, np.ndarray]:
    """Weights of positive and negative rows per bin, whose true log-odds are ``bend`` of the model's."""
    random = np.random.default_rng(seed)
    places = random.integers(BINS // 4, 3 * BINS // 4, count)
    labels = random.random(count) < probability(bend(CENTRES[places]))
    return tuple(np.bincount(places[labels == known], minlength=BINS).astype(float) for known in (True, False))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 300))
def test_isotonic_is_the_regression_of_scikit_learn(seed: int, count: int) -> None:
    positive, negative = rows(seed, count, lambda x: 0.3 * x)
    points = fit("isotonic", positive, negative)["points"]
    if not 0 < positive.sum() < count:
        assert points == []
        return
    used = (positive + negative) > 0
    x, weight = CENTRES[used], (positive + negative)[used]
    expected = IsotonicRegression().fit(x, positive[used] / weight, sample_weight=weight).predict(x)
    actual = probability(calibrated(x, {"points": points}))
    least = 0.5 / weight.sum()
    np.testing.assert_allclose(actual, expected.clip(least, 1 - least), atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_increasing_and_finite_everywhere(method: str) -> None:
    fitted = fit(method, *rows(1, 500, lambda x: 0.5 * x - 1))
    x = np.linspace(-60, 60, 2001)
    y = calibrated(x, fitted)
    assert np.isfinite(y).all()
    assert (np.diff(y) >= -1e-12).all()
    np.testing.assert_array_equal(calibrate(np.array([0.0, 1.0]), fitted), [0.0, 1.0])


def test_a_spline_finds_a_bend_that_two_numbers_cannot() -> None:
    def bend(x: np.ndarray) -> np.ndarray:
        return np.where(x < -4, -4 + 0.2 * (x + 4), x)

    learned, fresh = rows(0, 40_000, bend), rows(1, 40_000, bend)

    def loss(method: str) -> float:
        z = calibrated(CENTRES, fit(method, *learned))
        return float((fresh[0] * np.logaddexp(0, -z) + fresh[1] * np.logaddexp(0, z)).sum() / 40_000)

    truth = bend(CENTRES)
    best = float((fresh[0] * np.logaddexp(0, -truth) + fresh[1] * np.logaddexp(0, truth)).sum() / 40_000)
    assert loss("spline") < best + 0.001 < loss("platt") - 0.005
    assert loss("isotonic") < best + 0.002


def test_a_spline_of_true_log_odds_changes_nothing_much() -> None:
    fitted = fit("spline", *rows(2, 100_000, lambda x: x))
    x = np.linspace(-6, 2, 100)
    np.testing.assert_allclose(calibrated(x, fitted), x, atol=0.2)


def test_parts_move_only_as_far_as_their_rows_say() -> None:
    x = np.zeros(1)
    moves = [fit_part(np.array([0.75 * n]), np.array([0.25 * n]), x)[1] for n in (0, 4, 40, 40_000)]
    assert moves[0] == 0
    assert moves == sorted(moves)
    assert moves[-1] == pytest.approx(np.log(3), abs=1e-2)


@pytest.mark.parametrize("method", METHODS[1:])
def test_equal_labels_have_no_map(method: str) -> None:
    assert fit(method, np.zeros(BINS), np.ones(BINS)) == {"points": []}


def test_isotonic_steps_do_not_depend_on_the_scale_of_weights() -> None:
    positive, negative, x = np.array([0.0, 1, 9]), np.array([8.0, 3, 1]), np.array([-1.0, 0, 1])
    whole, small = (fit("isotonic", scale * positive, scale * negative, x)["points"] for scale in (1.0, 1e-4))
    np.testing.assert_allclose(small[1:], whole[1:])
    assert -np.inf < small[0][1] < small[1][1]  # a share of 0 is near the next share


def test_the_command_knows_all_methods() -> None:
    assert CALIBRATE[2:] == METHODS


def test_one_bin_is_enough() -> None:
    for method in METHODS:
        fitted = fit(method, np.array([3.0]), np.array([1.0]), np.array([0.0]))
        assert probability(calibrated(np.zeros(1), fitted))[0] == pytest.approx(0.75, abs=0.01), method
