"""Ranking quality within groups agrees with the metrics, and the search finds what orders rows best."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.batch import WITHOUT_GROUP, Target
from mtl_lightning.export.formula import Formula
from mtl_lightning.metrics.ranking.gauc import GAUC
from mtl_lightning.metrics.ranking.ndcg import NDCG
from mtl_lightning.schema import Schema, Task
from mtl_lightning.tune.fusion import OBJECTIVES, Ranked, learned_exponents, product, search, weighted_sum

TASKS = tuple(Task(name=name, kind="binary", label=name) for name in ("click", "buy"))
SCHEMA = Schema((), TASKS)


def drawn(seed: int, size: int, levels: int) -> tuple[Ranked, np.ndarray]:
    """Rows of some groups, and scores of few levels."""
    random = np.random.default_rng(seed)
    gain = (random.random(size) < 0.4).astype(float)
    return Ranked({}, gain, random.integers(0, 5, size)), random.integers(0, levels, size) / levels


def measured(kind: type, rows: Ranked, score: np.ndarray, **options: object) -> float:
    metric = kind(TASKS[0], **options)
    known = torch.ones(len(score), dtype=torch.bool)
    target = Target(torch.from_numpy(rows.gain)[:, None].float(), known, group=torch.from_numpy(rows.group))
    metric.update(torch.from_numpy(score), target)
    return float(metric.compute())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([1, 3, 1000]), st.integers(1, 12))
def test_objectives_are_the_metrics(seed: int, size: int, levels: int, k: int) -> None:
    rows, score = drawn(seed, size, levels)
    assert rows.measure("gauc", score) == pytest.approx(measured(GAUC, rows, score), abs=1e-6, nan_ok=True)
    assert rows.measure("ndcg", score, k) == pytest.approx(measured(NDCG, rows, score, k=k), abs=1e-6, nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 12))
def test_revenue_is_the_gain_of_the_first_rows(seed: int, size: int, k: int) -> None:
    rows, _ = drawn(seed, size, 1)
    score = np.random.default_rng(seed + 1).permutation(size).astype(float)
    values, _ = rows.values("revenue", score, k)
    for group in np.unique(rows.group):
        own = np.flatnonzero(rows.group == group)
        first = own[np.argsort(-score[own])][:k]
        assert values[group] == pytest.approx(rows.gain[first].sum())


def test_equal_scores_share_the_revenue() -> None:
    rows = Ranked({}, np.array([4.0, 0.0, 2.0]), np.array([0, 0, 0]))
    assert rows.measure("revenue", np.array([1.0, 1.0, 0.0]), 1) == 2.0


def test_losses_count_as_revenue_and_not_as_gain() -> None:
    rows, score = Ranked({}, np.array([-3.0, 1.0]), np.array([0, 0])), np.array([1.0, 0.0])
    assert rows.measure("revenue", score, 2) == -2
    assert rows.measure("ndcg", score, 2) == pytest.approx(1 / np.log2(3))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_difference_of_a_score_and_itself_is_nothing(objective: str) -> None:
    rows, score = drawn(0, 60, 1000)
    change = rows.difference(objective, score, score, count=20)
    assert (change.mean, change.low, change.high) == (0, 0, 0)


def test_few_groups_give_an_interval_and_none_with_a_gain_gives_none() -> None:
    score, other = np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 3, 4])
    two = Ranked({}, np.array([1.0, 0, 1, 0]), np.array([0, 0, 1, 1]))  # some draws have neither group
    change = two.difference("ndcg", score, other)
    assert change.low < change.mean < 0 < change.high
    empty = Ranked({}, np.zeros(4), two.group)
    assert empty.difference("ndcg", score, other).to_dict() == {"mean": None, "low": None, "high": None}


def test_rows_without_a_group_are_left_out() -> None:
    rows = Ranked.of({"click": np.array([0.1, 0.2, 0.3])}, np.ones(3), np.array([7, WITHOUT_GROUP, 9]))
    assert rows.predictions["click"].tolist() == [0.1, 0.3]
    assert rows.group.tolist() == [0, 1]


def world(seed: int, size: int = 20_000) -> tuple[Ranked, dict[str, np.ndarray]]:
    """Sales follow clicks; a row is worth its sale, so that the product of both probabilities orders rows best."""
    random = np.random.default_rng(seed)
    click, after = random.beta(2, 5, size), random.beta(1, 8, size)
    clicked = random.random(size) < click
    bought = clicked & (random.random(size) < after)
    labels = {"click": clicked.astype(float), "buy": bought.astype(float)}
    return Ranked({"click": click, "buy": after}, labels["buy"], np.arange(size) // 20), labels


def test_the_search_beats_the_sum() -> None:
    rows, labels = world(0)
    candidates = search(rows, labels, SCHEMA, "p_click + p_buy", objective="ndcg", trials=40)
    assert [candidate.origin for candidate in candidates[:1]] == ["default"]
    assert {candidate.origin for candidate in candidates} == {"default", "learned", "searched"}
    best = candidates[1]
    fresh, _ = world(1)
    truth, searched, default = (
        fresh.measure("ndcg", Formula(text, SCHEMA)(fresh.predictions))
        for text in ("p_click * p_buy", best.text, "p_click + p_buy")
    )
    assert default < truth - 0.02
    assert searched > truth - 0.01
    score, other = (Formula(text, SCHEMA)(fresh.predictions) for text in (best.text, "p_click + p_buy"))
    assert fresh.difference("ndcg", score, other, count=200).low > 0


def test_learned_exponents_are_close_to_the_truth() -> None:
    rows, _ = world(2)
    click, buy = learned_exponents(rows, ["click", "buy"])
    assert click == pytest.approx(1, abs=0.15)
    assert buy == pytest.approx(1, abs=0.15)


def test_formulas_can_be_read() -> None:
    values = {"click": np.array([0.25]), "buy": np.array([0.5])}
    for text in (
        product({"click": 0.0, "buy": 0.0}),
        product({"click": 2.0, "buy": 1e-9}),
        weighted_sum({"click": 1.0, "buy": 33.33}, {"click": 0.0, "buy": 0.123}),
    ):
        assert np.isfinite(Formula(text, SCHEMA)(values)).all(), text
