"""Everything that ``data inspect`` says of a log."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.quality.association import associations
from mtl_lightning.data.quality.drift import LARGE, MODERATE, drift, drifted, vector_facts
from mtl_lightning.data.quality.findings import Finding, ordered
from mtl_lightning.data.quality.labels import funnels, label_pairs
from mtl_lightning.data.quality.leaks import leak_scores, leaks
from mtl_lightning.data.quality.line_breaks import line_break_findings
from mtl_lightning.data.quality.profile import profile
from mtl_lightning.data.quality.rows import repeated, sample
from mtl_lightning.data.quality.scores import psi
from mtl_lightning.data.quality.separators import unsplit
from mtl_lightning.errors import DataError

SAMPLE = 100_000
"""Rows per split up to which leaks, drift and repeated rows are exact; of larger splits about so many are taken."""
UNKNOWN_INFO, UNKNOWN_WARNING = 0.05, 0.2
REPEATED, CONTRADICTED = 0.1, 0.01
FEW = 100
"""Training rows with a label below which a task is called rare."""
MOSTLY = 0.5


def look(data: DataModule, accepted: Sequence[str] = ()) -> dict[str, Any]:
    """Profile a log and measure its quality.

    Rows, nulls, distinct values, label rates (also by day), labels beside each other and shares out of vocabulary are
    of all rows; leaks, drift and repeated rows of a sample, whose size is said.

    Args:
        data: The log and what is made of it; it is prepared, which a later ``fit`` finds done.
        accepted: Names of findings that the recipe accepts.

    Returns:
        Plain containers: what :func:`~mtl_lightning.data.quality.profile.profile` gives, and ``sample``, ``features``,
        ``repeated``, ``pairs``, ``findings``, ``seconds``.

    Raises:
        DataError: If rows can't be read.
    """
    started = time.perf_counter()
    found = profile(data.source, data.source.schema(), data.tasks, data.split)
    findings = [*_nulls(data, found), *line_break_findings(found["columns"]), *_labels(data, found), *unsplit(data)]
    quality: dict[str, Any] = {"sample": {}, "features": {}, "repeated": None, "pairs": []}
    try:
        prepared = data.prepare()
    except DataError as error:
        hint = error.hint or "nothing can be said of features and labels before"
        findings.append(Finding(level="serious", name="prepare", reason=error.message, hint=hint))
    else:
        quality, more = _measured(prepared)
        findings += more
    return {
        **found,
        **quality,
        "findings": [{**one.to_dict(), "accepted": one.name in accepted} for one in ordered(findings)],
        "seconds": round(time.perf_counter() - started, 2),
    }


def _measured(prepared: Prepared) -> tuple[dict[str, Any], list[Finding]]:
    schema, stores = prepared.schema, prepared.stores
    samples = {name: sample(store, SAMPLE) for name, store in stores.items()}
    unknown = prepared.summary["out_of_vocabulary"]
    scores, moved = leak_scores(schema, samples["train"]), drift(schema, samples)
    classes = [_named(one, prepared) for one in associations(schema, samples["train"])]
    pairs = [*label_pairs(schema, stores["train"]), *classes]
    vectors = vector_facts(schema, samples)
    places = [(task.name, schema.label_slices[task.name], schema.task_index[task.name]) for task in schema.tasks]
    again = repeated(samples["train"], places)
    features = {
        field.name: {
            "kind": field.kind,
            "out_of_vocabulary": {
                name: share[field.name] for name, share in unknown.items() if field.name in share and name != "train"
            },
            "psi": {name: value for name, (value, _) in moved.get(field.name, {}).items()},
            "alone": scores.get(field.name, {}),
            **({"vector": vectors[field.name]} if field.name in vectors else {}),
        }
        for field in schema.fields
    }
    taken = {name: {"rows": len(stores[name]), "taken": len(parts["mask"])} for name, parts in samples.items()}
    quality = {"sample": taken, "features": features, "repeated": again, "pairs": pairs}
    findings = [
        *leaks(scores, prepared.transforms),
        *funnels(schema, pairs),
        *drifted(moved),
        *_unknown(features),
        *_repeated(again),
    ]
    return quality, findings


def _named(pair: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    """A pair of :func:`associations` beside those of :func:`label_pairs`, with the names of labels."""
    names = []
    for task, number in zip(pair["tasks"], pair["label"], strict=True):
        vocabulary = prepared.transforms.labels[task].vocabulary
        known = number is not None and vocabulary is not None
        names.append(str(vocabulary.keys[number].as_py()) if known and vocabulary is not None else number)
    nothing = dict.fromkeys(("both", "first", "second", "neither", "correlation"))
    return {**nothing, **pair, "label": names}


def _nulls(data: DataModule, found: Mapping[str, Any]) -> Iterator[Finding]:
    for name, feature in data.features.items():
        for column in feature.columns(name):
            facts = found["columns"][column]
            if facts["rows"] and facts["nulls"] > MOSTLY * facts["rows"]:
                empty = facts["nulls"] == facts["rows"]
                share = 100 * facts["nulls"] // facts["rows"]  # rounded down: 100% would say that there is none
                yield Finding(
                    level="warning" if empty else "info",
                    name=f"nulls:{column}",
                    reason=f"no row has a value of {column!r}" if empty else f"{share}% of {column!r} is missing",
                    hint="a feature needs values; was a join lost?" if empty else "",
                )
            elif facts["distinct"] == 1 and not facts["nulls"]:
                reason = f"the column {column!r} has the same value in all rows"
                yield Finding(level="warning", name=f"constant:{column}", reason=reason, hint="a feature needs more")
            yield from _null_drift(column, facts["missing"], found["rows"])


def _null_drift(column: str, missing: Mapping[str, int], rows: Mapping[str, int]) -> Iterator[Finding]:
    """A column that is missing more, or less, often than in training."""
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
                hint="was it logged from another day on, or is a join late?" if large else "",
            )


def _labels(data: DataModule, found: Mapping[str, Any]) -> Iterator[Finding]:
    for task in data.tasks:
        splits = found["labels"][task.name]
        train = splits["train"]
        if not task.traits.event_probability or train["mean"] is None:
            continue
        positive = round(train["known"] * train["mean"])
        if positive < FEW:
            reason = f"{task.name!r} has {positive} positive training rows"
            yield Finding(level="warning", name=f"rare:{task.name}", reason=reason, hint="metrics will be noisy")
        for name, facts in splits.items():
            if name == "train" or facts["mean"] is None:
                continue
            rates = [np.array([1 - one["mean"], one["mean"]]) for one in (train, facts)]
            value, chance = psi(*rates), 1 / train["known"] + 1 / facts["known"]
            if value - chance > MODERATE:
                yield Finding(
                    level="warning" if value - chance > LARGE else "info",
                    name=f"label_drift:{task.name}:{name}",
                    reason=f"the rate of {task.name!r} is {train['mean']:.3g} in train, {facts['mean']:.3g} in {name}",
                    hint="see the rates by day; labels that come late are missing at the log's end",
                )


def _unknown(features: Mapping[str, Any]) -> Iterator[Finding]:
    for feature, facts in features.items():
        for split, share in facts["out_of_vocabulary"].items():
            if share > UNKNOWN_INFO:
                yield Finding(
                    level="warning" if share > UNKNOWN_WARNING else "info",
                    name=f"unknown:{feature}:{split}",
                    reason=f"{share:.1%} of {feature!r} in {split} are values that training doesn't know",
                    hint="a larger max_size, a smaller min_count, or a feature that says more of new values",
                )


def _repeated(again: Mapping[str, Any]) -> Iterator[Finding]:
    share = again["duplicates"] / max(again["rows"], 1)
    if share:
        yield Finding(
            level="warning" if share >= REPEATED else "info",
            name="duplicates",
            reason=f"{again['duplicates']:,} of {again['rows']:,} training rows ({share:.2%}) have features and labels "
            "of another one",
            hint="was the log written twice? They count twice, and stand on both sides of a random split",
        )
    for task, part in again["contradictions"].items():
        if part >= CONTRADICTED:
            yield Finding(
                level="warning" if part >= REPEATED else "info",
                name=f"contradictions:{task}",
                reason=f"{part:.1%} of {task!r} stand on rows with equal features and another label",
                hint="no model can tell them apart; features may be missing",
            )
