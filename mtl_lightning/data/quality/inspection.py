"""Inspection of a log: everything that ``data inspect`` reports."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.quality.association import associations
from mtl_lightning.data.quality.drift import LARGE, MODERATE, drift, drift_findings, vector_facts
from mtl_lightning.data.quality.findings import Finding, sort_findings
from mtl_lightning.data.quality.histories import history_facts, history_findings, history_scores
from mtl_lightning.data.quality.labels import funnels, label_pairs
from mtl_lightning.data.quality.leaks import leak_scores, leaks
from mtl_lightning.data.quality.line_breaks import line_break_findings
from mtl_lightning.data.quality.profile import profile
from mtl_lightning.data.quality.rows import count_repeated, sample
from mtl_lightning.data.quality.scores import psi
from mtl_lightning.data.quality.separators import separator_findings
from mtl_lightning.errors import DataError

SAMPLE = 100_000
"""Number of rows per split on which leaks, drift and repeated rows are measured, about this many of larger splits."""

UNKNOWN_INFO, UNKNOWN_WARNING = 0.05, 0.2
"""Share of unknown values above which they are reported, and above which they are a warning."""

REPEATED, CONTRADICTED = 0.1, 0.01
"""Share of repeated or contradictory rows that is a warning, and share of contradictory rows that is reported."""

FEW = 100
"""Number of positive training rows below which a task is rare."""

MOSTLY = 0.5
"""Share of missing values above which they are reported."""


def inspect_log(data: DataModule, accepted: Sequence[str] = ()) -> dict[str, Any]:
    """Profile a log and measure its quality.

    Rows, nulls, distinct values, label rates (also by day), pairs of labels and shares out of vocabulary are measured
    on all rows. Leaks, drift and repeated rows are measured on a sample, whose size is reported.

    Args:
        data: The log. It is prepared, so that a later ``fit`` uses the prepared data.
        accepted: Names of findings that the recipe accepts.

    Returns:
        Plain containers: the contents of :func:`~mtl_lightning.data.quality.profile.profile`, with ``sample``,
        ``features``, ``repeated``, ``pairs``, ``histories``, ``findings`` and ``seconds``.

    Raises:
        DataError: If rows cannot be read.
    """
    started = time.perf_counter()
    facts = profile(data.source, data.source.schema(), data.tasks, data.split)
    findings = [
        *_nulls(data, facts),
        *line_break_findings(facts["columns"]),
        *_labels(data, facts),
        *separator_findings(data),
    ]
    quality: dict[str, Any] = {"sample": {}, "features": {}, "repeated": None, "pairs": [], "histories": {}}
    try:
        prepared = data.prepare()
    except DataError as error:
        hint = error.hint or "features and labels cannot be measured before"
        findings.append(Finding(level="serious", name="prepare", reason=error.message, hint=hint))
    else:
        quality, more = _measure(prepared)
        findings += more
    return {
        **facts,
        **quality,
        "findings": [
            {**finding.to_dict(), "accepted": finding.name in accepted} for finding in sort_findings(findings)
        ],
        "seconds": round(time.perf_counter() - started, 2),
    }


def _measure(prepared: Prepared) -> tuple[dict[str, Any], list[Finding]]:
    schema, stores = prepared.schema, prepared.stores
    samples = {name: sample(store, SAMPLE) for name, store in stores.items()}
    unknown = prepared.summary["out_of_vocabulary"]
    scores, drift_scores = leak_scores(schema, samples["train"]), drift(schema, samples)
    classes = [_with_names(pair, prepared) for pair in associations(schema, samples["train"])]
    pairs = [*label_pairs(schema, stores["train"]), *classes]
    vectors = vector_facts(schema, samples)
    places = [(task.name, schema.label_slices[task.name], schema.task_index[task.name]) for task in schema.tasks]
    repeated = count_repeated(samples["train"], places)
    features = {
        field.name: {
            "kind": field.kind,
            "out_of_vocabulary": {
                name: share[field.name] for name, share in unknown.items() if field.name in share and name != "train"
            },
            "psi": {name: value for name, (value, _) in drift_scores.get(field.name, {}).items()},
            "alone": scores.get(field.name, {}),
            **({"vector": vectors[field.name]} if field.name in vectors else {}),
        }
        for field in schema.fields
    }
    taken = {name: {"rows": len(stores[name]), "taken": len(parts["mask"])} for name, parts in samples.items()}
    histories = history_facts(prepared, samples)
    quality = {"sample": taken, "features": features, "repeated": repeated, "pairs": pairs, "histories": histories}
    findings = [
        *leaks(scores, prepared.transforms),
        *funnels(schema, pairs),
        *drift_findings(drift_scores),
        *_unknown(features),
        *history_findings(histories, history_scores(prepared, samples["train"])),
        *_repeated(repeated),
    ]
    return quality, findings


def _with_names(pair: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    """Return a pair of :func:`associations` in the form of :func:`label_pairs`, with the names of labels."""
    names = []
    for task, number in zip(pair["tasks"], pair["label"], strict=True):
        vocabulary = prepared.transforms.labels[task].vocabulary
        known = number is not None and vocabulary is not None
        names.append(str(vocabulary.keys[number].as_py()) if known and vocabulary is not None else number)
    missing = dict.fromkeys(("both", "first", "second", "neither", "correlation"))
    return {**missing, **pair, "label": names}


def _nulls(data: DataModule, profiled: Mapping[str, Any]) -> Iterator[Finding]:
    for name, feature in data.features.items():
        for column in feature.columns(name):
            if column not in profiled["columns"]:
                continue  # of a side table
            facts = profiled["columns"][column]
            if facts["rows"] and facts["nulls"] > MOSTLY * facts["rows"]:
                empty = facts["nulls"] == facts["rows"]
                share = 100 * facts["nulls"] // facts["rows"]  # rounded down: 100% would mean that no row has a value
                yield Finding(
                    level="warning" if empty else "info",
                    name=f"nulls:{column}",
                    reason=f"no row has a value of {column!r}" if empty else f"{share}% of {column!r} is missing",
                    hint="remove the feature, or check for a missing join" if empty else "",
                )
            elif facts["distinct"] == 1 and not facts["nulls"]:
                reason = f"the column {column!r} has the same value in all rows"
                yield Finding(level="warning", name=f"constant:{column}", reason=reason, hint="remove the feature")
            yield from _null_drift(column, facts["missing"], profiled["rows"])


def _null_drift(column: str, missing: Mapping[str, int], rows: Mapping[str, int]) -> Iterator[Finding]:
    """Yield a finding for each split in which a column is missing more or less often than in training."""
    train = rows["train"]
    for split in (name for name in rows if name != "train" and rows[name] and train):
        shares = missing["train"] / train, missing[split] / rows[split]
        value = psi(*(np.array([1 - share, share]) for share in shares))
        if value - 1 / train - 1 / rows[split] > MODERATE:
            large = value - 1 / train - 1 / rows[split] > LARGE
            yield Finding(
                level="warning" if large else "info",
                name=f"null_drift:{column}:{split}",
                reason=f"{shares[0]:.2%} of {column!r} is missing in train, {shares[1]:.2%} in {split}",
                hint="check since when it is logged, and for a late join" if large else "",
            )


def _labels(data: DataModule, profiled: Mapping[str, Any]) -> Iterator[Finding]:
    for task in data.tasks:
        splits = profiled["labels"][task.name]
        train = splits["train"]
        if not task.traits.hard or train["mean"] is None:
            continue
        positive = round(train["known"] * train["mean"])
        if positive < FEW:
            reason = f"{task.name!r} has {positive} positive training rows"
            yield Finding(level="warning", name=f"rare:{task.name}", reason=reason, hint="metrics will be noisy")
        for name, facts in splits.items():
            if name == "train" or facts["mean"] is None:
                continue
            rates = [np.array([1 - part["mean"], part["mean"]]) for part in (train, facts)]
            value, chance = psi(*rates), 1 / train["known"] + 1 / facts["known"]
            if value - chance > MODERATE:
                yield Finding(
                    level="warning" if value - chance > LARGE else "info",
                    name=f"label_drift:{task.name}:{name}",
                    reason=f"the rate of {task.name!r} is {train['mean']:.3g} in train, {facts['mean']:.3g} in {name}",
                    hint="see the rates by day: late labels are missing at the end of the log",
                )


def _unknown(features: Mapping[str, Any]) -> Iterator[Finding]:
    for feature, facts in features.items():
        for split, share in facts["out_of_vocabulary"].items():
            if share > UNKNOWN_INFO:
                yield Finding(
                    level="warning" if share > UNKNOWN_WARNING else "info",
                    name=f"unknown:{feature}:{split}",
                    reason=f"{share:.1%} of {feature!r} in {split} are values that don't occur in training",
                    hint="use a larger max_size, a smaller min_count, or a feature with information on new values",
                )


def _repeated(counts: Mapping[str, Any]) -> Iterator[Finding]:
    share = counts["duplicates"] / max(counts["rows"], 1)
    if share:
        yield Finding(
            level="warning" if share >= REPEATED else "info",
            name="duplicates",
            reason=f"{counts['duplicates']:,} of {counts['rows']:,} training rows ({share:.2%}) have the features "
            "and labels of another row",
            hint="check whether the log was written twice; a random split puts copies on both sides",
        )
    for task, part in counts["contradictions"].items():
        if part >= CONTRADICTED:
            yield Finding(
                level="warning" if part >= REPEATED else "info",
                name=f"contradictions:{task}",
                reason=f"{part:.1%} of {task!r} are in rows with equal features and another label",
                hint="no model can distinguish them; features may be missing",
            )
