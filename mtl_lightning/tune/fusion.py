"""Ranking quality of combined scores within groups, and the search for a formula that ranks best."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.compare.statistics import Difference, interval
from mtl_lightning.export.formula import Formula
from mtl_lightning.schema import Schema
from mtl_lightning.tune.study import import_optuna

Floats = NDArray[np.float64]

OBJECTIVES = ("ndcg", "gauc", "revenue")
"""Objectives of a formula, the default first."""

SMALLEST = 1e-7
"""Smallest probability whose logarithm is taken."""


@dataclass(frozen=True)
class Ranked:
    """Rows of a split, whose order within groups is to be chosen.

    Args:
        predictions: Predictions per task with one value per row, [n].
        gain: What each row is worth if it is shown at the top, [n]; for NDCG a gain below 0 counts as 0.
        group: Number of each row's group (user, request), from 0, [n].

    Example:
        >>> rows = Ranked({"click": np.array([0.9, 0.1])}, np.array([0.0, 1.0]), np.array([0, 0]))
        >>> rows.measure("gauc", rows.predictions["click"])
        0.0
    """

    predictions: Mapping[str, Floats]
    gain: Floats
    group: NDArray[np.int64]

    @classmethod
    def of(cls, predictions: Mapping[str, Floats], gain: Floats, group: NDArray[np.int64]) -> "Ranked":
        """Rows by their groups' keys; rows without a group are left out."""
        grouped = group != WITHOUT_GROUP
        _, numbers = np.unique(group[grouped], return_inverse=True)
        return cls({task: values[grouped] for task, values in predictions.items()}, gain[grouped], numbers)

    def values(self, objective: str, score: Floats, k: int = 10) -> tuple[Floats, Floats]:
        """Value and weight of each group, [G]; a group whose value is undefined has weight 0.

        Rows of equal score share their places: gains are their means, and pairs count one half.

        Args:
            objective: ``ndcg``: DCG@k / ideal DCG@k; ``gauc``: AUC of the rows with a gain above 0, weighted by rows;
                ``revenue``: sum of the gains of the first k rows.
            score: Score of each row, [n]; NaN is lowest.
            k: Number of first places that count.
        """
        score = np.nan_to_num(score, nan=-np.inf)
        order = np.lexsort((-score, self.group))
        group, gain, score = self.group[order], self.gain[order], score[order]
        size = np.bincount(group)
        starts = np.cumsum(size) - size
        place = np.arange(len(group)) - starts[group]
        if objective == "gauc":
            return _areas(group, gain > 0, place, _levels(group, score), size)
        if objective == "revenue":
            return _top(group, _shared(gain, _levels(group, score)), np.ones(len(group)), place, k), np.ones(len(size))
        discount = 1 / np.log2(place + 2)
        gain, ideal = gain.clip(0), self.gain[np.lexsort((-self.gain, self.group))].clip(0)
        best = _top(group, ideal, discount, place, k)
        actual = _top(group, _shared(gain, _levels(group, score), np.where(place < k, discount, 0)), None, place, None)
        return np.divide(actual, best, out=np.zeros_like(best), where=best > 0), (best > 0).astype(np.float64)

    def measure(self, objective: str, score: Floats, k: int = 10) -> float:
        """Mean over groups; NaN if it is undefined for all of them."""
        values, weights = self.values(objective, score, k)
        return float(values @ weights / weights.sum()) if weights.sum() > 0 else math.nan

    def difference(
        self, objective: str, score: Floats, other: Floats, k: int = 10, *, count: int = 1000, level: float = 0.95
    ) -> Difference:
        """Advantage of a score over another, with an interval by drawing groups.

        Args:
            objective: See :meth:`values`.
            score: Score of each row, [n].
            other: Score to compare with, [n].
            k: Number of first places that count.
            count: Number of bootstrap samples.
            level: Confidence level.
        """
        values, weights = self.values(objective, score, k)
        others, _ = self.values(objective, other, k)
        random, changes = np.random.default_rng(0), (values - others) * weights
        drawn = (random.poisson(1.0, len(weights)) for _ in range(count))
        sums = np.array([(times @ changes, times @ weights) for times in drawn])
        with np.errstate(invalid="ignore"):  # draws without a group that counts
            samples = sums[:, :1] / sums[:, 1:]
        mean = float(changes.sum() / weights.sum()) if weights.sum() > 0 else math.nan
        return interval(np.array([mean]), samples, level)


def _levels(group: NDArray[np.int64], score: Floats) -> NDArray[np.int64]:
    """Number of the level of equal scores of each row, in order of rows that are sorted by group and score."""
    new = np.ones(len(group), dtype=bool)
    new[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    return np.cumsum(new) - 1


def _shared(gain: Floats, level: NDArray[np.int64], factor: Floats | None = None) -> Floats:
    """Mean gain of each row's level, times the mean factor of the level."""
    size = np.bincount(level)
    means = np.bincount(level, gain) / size
    if factor is not None:
        means *= np.bincount(level, factor) / size
    result: Floats = means[level]
    return result


def _top(
    group: NDArray[np.int64], gain: Floats, factor: Floats | None, place: NDArray[np.int64], k: int | None
) -> Floats:
    """Sum over the first k rows of each group of gain times factor, [G]."""
    worth = gain if factor is None else gain * factor
    sums: Floats = np.bincount(group, worth if k is None else np.where(place < k, worth, 0.0)).astype(np.float64)
    return sums


def _areas(
    group: NDArray[np.int64],
    positive: NDArray[np.bool_],
    place: NDArray[np.int64],
    level: NDArray[np.int64],
    size: NDArray[np.int64],
) -> tuple[Floats, Floats]:
    """AUC of each group by ranks, and its number of rows; 0 for groups of one class."""
    middle = np.bincount(level, place) / np.bincount(level)
    rank = size[group] - middle[level]  # 1 for the lowest row
    wins = np.bincount(group, positive, len(size))
    losses = size - wins
    pairs = wins * losses
    won = np.bincount(group, np.where(positive, rank, 0), len(size)) - wins * (wins + 1) / 2
    return np.divide(won, pairs, out=np.zeros(len(size)), where=pairs > 0), np.where(pairs > 0, size, 0.0)


def learned_exponents(rows: Ranked, tasks: Sequence[str]) -> list[float]:
    """Exponents of a product of probabilities, fitted to the gains by a softmax over each group.

    The logarithm of the product is a linear model with coefficients that are not negative, so that the score rises with
    each probability.

    Source:
        Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007, with shares of the gain
        as the target, as in :mod:`mtl_lightning.losses.listwise`.

    Args:
        rows: Rows to fit.
        tasks: Tasks whose predictions are probabilities.

    Example:
        >>> random = np.random.default_rng(0)
        >>> p, noise = random.random(4000), random.random(4000)
        >>> rows = Ranked({"a": p, "b": noise}, (random.random(4000) < p).astype(float), np.arange(4000) // 10)
        >>> a, b = learned_exponents(rows, ["a", "b"])
        >>> a > 0.8, b < 0.1
        (True, True)
    """
    logs = np.stack([np.log(np.maximum(rows.predictions[task], SMALLEST)) for task in tasks], 1)
    x, gain, group = torch.from_numpy(logs), torch.from_numpy(rows.gain.clip(0)), torch.from_numpy(rows.group)
    groups = int(group.max()) + 1 if len(group) else 0
    total = torch.zeros(groups, dtype=torch.float64).index_add_(0, group, gain)
    share = gain / total[group].clamp_min(SMALLEST)
    free = torch.zeros(len(tasks), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Any:
        optimizer.zero_grad()
        score = x @ torch.nn.functional.softplus(free)
        top = torch.full((groups,), -torch.inf, dtype=torch.float64).scatter_reduce(0, group, score.detach(), "amax")
        sums = torch.zeros(groups, dtype=torch.float64).index_add(0, group, (score - top[group]).exp())
        value = -(share * (score - top[group] - sums.log()[group])).sum() / max(groups, 1)
        value.backward()
        return value

    optimizer.step(loss)
    return [float(value) for value in torch.nn.functional.softplus(free.detach())]


def product(exponents: Mapping[str, float]) -> str:
    """Formula of a product of powers of probabilities.

    Example:
        >>> product({"click": 1.0, "buy": 0.5, "share": 0.0})
        'p_click * p_buy ^ 0.5'
    """
    terms = [_power(task, exponent) for task, exponent in exponents.items() if float(f"{exponent:.3g}")]
    return " * ".join(terms) or f"p_{next(iter(exponents))}"


def weighted_sum(weights: Mapping[str, float], exponents: Mapping[str, float]) -> str:
    """Formula of a sum of weighted powers of probabilities.

    Example:
        >>> weighted_sum({"click": 1.0, "buy": 20.0}, {"click": 1.0, "buy": 0.5})
        'p_click + 20 * p_buy ^ 0.5'
    """
    terms = (
        (f"{weights[task]:.3g} * " if f"{weights[task]:.3g}" != "1" else "") + _power(task, exponents[task])
        for task in weights
    )
    return " + ".join(terms)


def _power(task: str, exponent: float) -> str:
    return f"p_{task}" if f"{exponent:.3g}" == "1" else f"p_{task} ^ {exponent:.3g}"


@dataclass(frozen=True)
class Candidate:
    """A formula, its value on validation, and the quality of its order for each task alone.

    Args:
        text: The formula.
        value: The objective; NaN if undefined.
        tasks: GAUC of the score for each task's label; NaN if undefined.
        origin: ``default``, ``searched`` or ``learned``.
    """

    text: str
    value: float
    tasks: Mapping[str, float]
    origin: str


def search(
    rows: Ranked,
    labels: Mapping[str, Floats],
    schema: Schema,
    default: str,
    *,
    objective: str = "ndcg",
    k: int = 10,
    trials: int = 100,
    seed: int = 0,
) -> list[Candidate]:
    """Try formulas of the probabilities of binary tasks; the default first, then the best one.

    Products of powers and sums of weighted powers are searched by Optuna's TPE (Bergstra et al., 2011), and the product
    of :func:`learned_exponents` is tried as well.

    Args:
        rows: Validation rows.
        labels: Label of each binary task by row, [n]; an unknown one is 0.
        schema: Schema with the tasks.
        default: The formula to beat.
        objective: One of :data:`OBJECTIVES`.
        k: Number of first places that count.
        trials: Number of formulas of the search.
        seed: Seed of the search.
    """
    names = list(labels)

    def candidate(text: str, origin: str) -> Candidate:
        score = Formula(text, schema)(rows.predictions)
        own = {task: replace(rows, gain=label).measure("gauc", score) for task, label in labels.items()}
        return Candidate(text, rows.measure(objective, score, k), own, origin)

    first = candidate(default, "default")
    learned = candidate(product(dict(zip(names, learned_exponents(rows, names), strict=True))), "learned")
    tried = [
        learned,
        *(candidate(text, "searched") for text in _searched(rows, names, schema, objective, k, trials, seed)),
    ]
    tried.sort(key=attrgetter("value"), reverse=True)
    return [first, *tried]


def _searched(
    rows: Ranked, names: Sequence[str], schema: Schema, objective: str, k: int, trials: int, seed: int
) -> Iterator[str]:
    """Formulas of a search by Optuna, in the order of the trials."""
    optuna = import_optuna()
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
    for _ in range(trials):
        trial = study.ask()
        exponents = {task: trial.suggest_float(f"exponent {task}", 0.0, 3.0) for task in names}
        if trial.suggest_categorical("form", ["product", "sum"]) == "product":
            text = product(exponents)
        else:
            weights = {task: trial.suggest_float(f"weight {task}", 0.01, 100.0, log=True) for task in names[1:]}
            text = weighted_sum({names[0]: 1.0, **weights}, exponents)
        study.tell(trial, rows.measure(objective, Formula(text, schema)(rows.predictions), k))
        yield text
