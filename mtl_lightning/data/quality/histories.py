"""Quality of histories: how long and how old they are, and whether one gives a label away."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.quality.findings import Finding
from mtl_lightning.data.quality.leaks import binary_targets
from mtl_lightning.data.quality.scores import FOLDS, encoded_auc, row_auc
from mtl_lightning.data.store.events import Events, lengths
from mtl_lightning.schema import UNKNOWN, Field, Schema

SUSPICIOUS = 0.9
"""AUC of a single statistic of a history above which it is a warning.

Behaviour before a row is a good predictor, yet a count or the latest event alone seldom has an AUC above 0.8. More is
usual where an event carries the label of its row: rows are logged twice, ``delay`` is missing, or the time is the time
of writing.
"""
MOSTLY = 0.9
"""Share of empty histories above which it is reported."""
CHUNK = 4096
"""Rows whose events are read at a time."""


def history_facts(prepared: Prepared, samples: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Measure the histories of each split.

    Args:
        prepared: Prepared data.
        samples: Rows of each split, by the name of the split.

    Returns:
        By history and split:

        - ``rows``: number of rows;
        - ``empty`` and ``full``: share of histories without an event, and of ones with ``length`` events;
        - ``median``, ``high`` and ``most``: number of events; 90% are not above ``high``;
        - ``age``: median time from the latest event to the row, in seconds or in the unit of the time column; None for
          histories without ``gap``.
    """
    facts: dict[str, Any] = {}
    for field in _histories(prepared):
        facts[field.name] = {}
        for split, parts in samples.items():
            part = parts[f"history/{field.name}"]
            count = lengths(part)
            if not len(count):
                continue
            ages = _ages(prepared.stores[split].events[field.name], part[count > 0])
            facts[field.name][split] = {
                "rows": len(count),
                "empty": float((count == 0).mean()),
                "median": float(np.median(count)),
                "high": float(np.quantile(count, 0.9)),
                "most": int(count.max()),
                "full": float((count == field.length).mean()),
                "age": None if ages is None or not len(ages) else float(np.median(ages)),
            }
    return facts


def _histories(prepared: Prepared) -> list[Field]:
    """Fields of histories; sequences that carry more than ids have the same kind, but no events."""
    events = prepared.stores["train"].events
    return [field for field in prepared.schema.of_kind("history") if field.name in events]


def _ages(events: Events, part: np.ndarray) -> np.ndarray | None:
    """Time from the latest event to each row, of rows that have events; None for histories without gaps."""
    if "time" not in events.parts:
        return None
    ages = []
    for start in range(0, len(part), CHUNK):
        steps = events.steps(torch.from_numpy(part[start : start + CHUNK]))
        assert steps.gap is not None
        ages.append(steps.gap.gather(1, steps.length.unsqueeze(1) - 1)[:, 0].numpy())
    return np.concatenate(ages) if ages else np.zeros(0)


def history_scores(prepared: Prepared, parts: Mapping[str, np.ndarray]) -> dict[str, dict[str, tuple[float, str]]]:
    """Measure how well single statistics of each history predict each label.

    The statistics are the number of events, how often and how late the row's own ids are among them, the ids of the
    latest event (target-encoded out of fold), and the mean and the latest value of each number.

    Args:
        prepared: Prepared data.
        parts: Rows of the training split.

    Returns:
        By history and task the highest AUC, at least 0.5, and its statistic.
    """
    schema, rows = prepared.schema, len(parts["mask"])
    fold = np.random.default_rng(0).integers(0, FOLDS, rows)
    targets = [(task.name, *target) for task in schema.tasks for target in binary_targets(schema, task, dict(parts), 1)]
    best: dict[str, dict[str, tuple[float, str]]] = {}
    for field in _histories(prepared):
        events = prepared.stores["train"].events[field.name]
        ranks, codes = _statistics(schema, field, events, parts)
        best[field.name] = {}
        for task, known, label, _ in targets:
            scores = {}
            for name, values in ranks.items():
                value = row_auc(values[known], label[known])
                scores[name] = max(value, 1 - value)
            for name, values in codes.items():
                dense = np.unique(values, return_inverse=True)[1]
                scores[name] = encoded_auc(dense, label, fold, known)
            highest = max(scores, key=lambda name: np.nan_to_num(scores[name]))
            best[field.name][task] = max(float(np.nan_to_num(scores[highest])), 0.5), highest
    return best


def _statistics(
    schema: Schema, field: Field, events: Events, parts: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Numbers to rank, and codes to encode, by description; [N] each."""
    part = parts[f"history/{field.name}"]
    ids, numbers = field.steps_of_kind("categorical"), field.steps_of_kind("numeric")
    own = {step.name: _column(schema, step) for step in ids}
    ranked: dict[str, list[np.ndarray]] = {}
    coded: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(part), CHUNK):
        steps = events.steps(torch.from_numpy(part[start : start + CHUNK]))
        values, measured, known = steps.ids.numpy(), steps.numbers.numpy(), steps.known.numpy()
        count = steps.length.numpy()
        row, last = np.arange(len(count)), np.maximum(count - 1, 0)
        ranked.setdefault("the number of events", []).append(count)
        for place, step in enumerate(ids):
            coded.setdefault(f"{step.name!r} of the latest event", []).append(values[row, last, place])
            column = own[step.name]
            if column is not None:
                target = parts["ids"][start : start + CHUNK, column]
                equal = (values[:, :, place] == target[:, None]) & known & (target > UNKNOWN)[:, None]
                ranked.setdefault(f"how often its own {step.name!r} is in it", []).append(equal.sum(axis=1))
                latest = np.where(equal, np.arange(equal.shape[1]) - count[:, None], -equal.shape[1] - 1).max(axis=1)
                ranked.setdefault(f"how late its own {step.name!r} is in it", []).append(latest)
        for place, step in enumerate(numbers):
            mean = measured[:, :, place].sum(axis=1) / np.maximum(count, 1)
            ranked.setdefault(f"the mean of {step.name!r}", []).append(mean)
            ranked.setdefault(f"the latest {step.name!r}", []).append(measured[row, last, place])
    joined = [{name: np.concatenate(values) for name, values in kinds.items()} for kinds in (ranked, coded)]
    return joined[0], joined[1]


def _column(schema: Schema, step: Field) -> int | None:
    """Column of the row's own id with the vocabulary of an event's id."""
    same = [field.name for field in schema.of_kind("categorical") if field.table == step.table]
    return schema.id_columns[same[0]] if same else None


def history_findings(
    facts: Mapping[str, Any], scores: Mapping[str, Mapping[str, tuple[float, str]]]
) -> Iterator[Finding]:
    """Yield findings of histories that give a label away, and of ones that are mostly empty."""
    for name, tasks in scores.items():
        for task, (value, statistic) in tasks.items():
            if value > SUSPICIOUS:
                yield Finding(
                    level="warning",
                    name=f"history:{name}:{task}",
                    reason=f"{statistic} alone predicts {task!r} with AUC {value:.3f} (history {name!r})",
                    hint="look for rows that are logged twice, for labels that become known later (set delay), and "
                    "for times that are later than the event",
                )
    for name, splits in facts.items():
        if "train" in splits and splits["train"]["empty"] > MOSTLY:
            yield Finding(
                level="warning" if splits["train"]["most"] == 0 else "info",
                name=f"empty:{name}",
                reason=f"{splits['train']['empty']:.1%} of the histories {name!r} are empty in train",
                hint="check by, time and where; the log may have few rows of each user, then use from",
            )
