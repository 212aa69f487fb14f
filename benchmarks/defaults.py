"""Trials behind the shipped defaults: settings are chosen on validation, and the test split is read at the end.

Usage::

    python benchmarks/defaults.py try adult                  # the remaining trials of defaults.yaml
    python benchmarks/defaults.py try adult --minutes 4      # stop after a while; the same command resumes
    python benchmarks/defaults.py show adult                 # validation figures, best first
    python benchmarks/defaults.py baseline adult             # boosted trees or TF-IDF with logistic regression
    python benchmarks/defaults.py test adult plain shipped   # three seeds, the test split, a paired bootstrap

``defaults.yaml`` names the trials. A trial combines three layers: the set's recipe, ``start`` (the recipe's former
settings) and its own settings. Trials named ``shipped…`` start from the current recipe. Trials named ``earlier…`` start
from the recipe before its last change (``earlier``, also a layer below ``start``).

A trial is done if ``runs/defaults/<set>/<trial>-<seed>.json`` has a result of the same configuration; ``show`` marks
other results as older.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from defaults_trials import OUT, TRIALS, composed, main_values, result, run, write_part

from mtl_lightning.build import build_data
from mtl_lightning.compare.statistics import Difference, Rows, difference, draws, interval, metric_of
from mtl_lightning.config import validate
from mtl_lightning.runs.records.test_rows import read_rows


def show(group: str) -> None:
    """Print validation figures, best first."""
    rows = []
    for trial in TRIALS[group]["trials"]:
        records = [record for seed in range(10) if (record := result(group, trial, seed, older=True))]
        if records:
            values = [main_values(group, record["validation"]) for record in records]
            mean = {name: float(np.mean([value[name] for value in values])) for name in values[0]}
            rows.append((mean["score"], trial, len(records), mean, records))
    for _, trial, seeds, mean, records in sorted(rows, reverse=True):
        shown = " ".join(f"{name} {value:.4f}" for name, value in mean.items())
        epochs = "/".join(str(record["epoch"]) for record in records)
        seconds = np.mean([record["seconds"] for record in records])
        mark = "  older" if any(record["older"] for record in records) else ""
        print(f"{trial:28} {seeds} seed(s) {shown}  epoch {epochs}  {seconds:.0f} s{mark}")


def tables(group: str) -> Iterator[tuple[str, Any, dict[str, np.ndarray]]]:
    """Raw rows of each split, with the labels of the set's tasks; a run has the same splits."""
    from mtl_lightning.data.preparation.split import SPLITS
    from mtl_lightning.data.preparation.split_reader import SplitReader

    config = validate(composed(group, next(iter(TRIALS[group]["trials"])), 0))
    data = build_data(config)
    data.prepare()
    transforms = data.prepared.transforms
    text = [name for name in TRIALS[group].get("text", ()) if name not in transforms.columns]
    reader = SplitReader(data.source, config.split, (*transforms.columns, *text))
    blocks = [(block, assigned) for block, assigned in reader.all()]
    for number, split in enumerate(SPLITS):
        parts = [block.take(np.flatnonzero(assigned == number)) for block, assigned in blocks]
        table = pa.concat_tables(parts)
        labels = transforms.encode_labels(table)["labels"]
        yield split, table, {task.name: labels[:, i] for i, task in enumerate(config.tasks)}


def baseline(group: str, *, test: bool) -> None:
    """Print the figures of a strong model of another kind on the same rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline

    splits = {split: (table, labels) for split, table, labels in tables(group)}
    text = TRIALS[group].get("text", ())
    labels = splits["train"][1]

    def inputs(table: Any) -> Any:
        if text:
            columns = [[value or "" for value in table[name].to_pylist()] for name in text]
            return [" ".join(parts) for parts in zip(*columns, strict=True)]
        frame = table.select(list(TRIALS[group]["columns"])).to_pandas()
        return frame.astype(dict.fromkeys(frame.select_dtypes(exclude="number"), "category"))

    shown: dict[str, dict[str, float]] = {}
    arrays = {f"label/{task}": label for task, label in splits["test"][1].items()} if test else {}
    if text:
        models = {
            f"tfidf, C={c}": lambda c=c: make_pipeline(
                TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=c, max_iter=400)
            )
            for c in (0.3, 1.0, 3.0)
        }
    else:
        models = {
            f"trees, rate={rate}": lambda rate=rate: HistGradientBoostingClassifier(
                learning_rate=rate, max_iter=300, early_stopping=True, random_state=0, categorical_features="from_dtype"
            )
            for rate in (0.05, 0.1)
        }
    everything = [inputs(table) for table, _ in splits.values()]
    if not text:  # the same categories in every split
        for name in everything[0].select_dtypes("category"):
            known = everything[0][name].cat.categories
            for frame in everything:
                frame[name] = frame[name].cat.set_categories(known)
    fitted = dict(zip(splits, everything, strict=True))
    for name, make in models.items():
        for task, label in labels.items():
            model = make().fit(fitted["train"], label)
            if test:
                arrays[f"{name}/{task}"] = model.predict_proba(fitted["test"])[:, 1]
            for split in ("validation", "test") if test else ("validation",):
                value = roc_auc_score(splits[split][1][task], model.predict_proba(fitted[split])[:, 1])
                shown.setdefault(f"{name} {split}", {})[task] = value
    if test:
        np.savez(OUT / group / "baseline.npz", **arrays)  # type: ignore[arg-type]
    for name, values in shown.items():
        print(f"{name:28}", " ".join(f"{task} {value:.4f}" for task, value in values.items()), flush=True)


def within(rows: Rows, predicted: Sequence[np.ndarray], others: Sequence[np.ndarray], level: float) -> Difference:
    """Difference in AUC within users, seed by seed, averaged with users' row counts; the bootstrap draws users."""
    values, counts = [], []
    users, member = np.unique(rows.group, return_inverse=True)
    for user in range(len(users)):
        mine = np.flatnonzero(member == user)
        label, weight = rows.label[mine], rows.weight[mine]
        if 0 < label.sum() < len(label):  # otherwise AUC is undefined
            area = [[metric_of("binary", label, seed[mine])(weight) for seed in side] for side in (predicted, others)]
            values.append(np.subtract(*area))
            counts.append(len(mine))
    row_per_user = Rows(np.zeros(len(counts)), np.array(counts, dtype=np.float64))
    samples = np.array([weight @ np.array(values) / weight.sum() for weight in draws(row_per_user, 1000)])
    per_seed = np.array(counts) @ np.array(values) / np.sum(counts)
    return interval(per_seed, samples, level)


def compare(group: str, trials: Sequence[str], seeds: int, minutes: float) -> None:
    """Print test figures of trials, and the difference between the last trial and each other one, task by task."""
    end = time.monotonic() + 60 * minutes
    runs: dict[str, list[dict[str, np.ndarray]]] = {}
    for trial in trials:
        for seed in range(seeds):
            record = result(group, trial, seed)
            if record is None or "rows" not in record:
                if time.monotonic() > end:
                    raise SystemExit("time is over; the same command resumes")
                record = run(group, trial, seed, test=True)
            runs.setdefault(trial, []).append(read_rows(Path(record["rows"])))
    tasks = validate(composed(group, trials[-1], 0)).tasks
    baselines = dict(np.load(OUT / group / "baseline.npz")) if (OUT / group / "baseline.npz").is_file() else {}
    for task in tasks:
        known = runs[trials[0]][0][f"known/{task.name}"]
        label = runs[trials[0]][0][f"label/{task.name}"].ravel()[known].astype(np.float64)
        weight = np.ones(len(label))
        group_of = runs[trials[0]][0].get("group")
        rows = Rows(label, weight, None if group_of is None else group_of[known])
        predicted = {
            trial: [seed[f"prediction/{task.name}"][known].astype(np.float64) for seed in seeds_of_trial]
            for trial, seeds_of_trial in runs.items()
        }
        for name in (name for name in baselines if name.endswith(f"/{task.name}") and not name.startswith("label/")):
            if not np.array_equal(baselines[f"label/{task.name}"][known], label):
                raise SystemExit("baseline.npz is of other rows: run baseline --read-test again")
            prediction = baselines[name][known].astype(np.float64)
            predicted = {name.rsplit("/", 1)[0]: [prediction] * seeds, **predicted}
        for trial, predictions in predicted.items():
            values = [metric_of(task.kind, label, prediction)(weight) for prediction in predictions]
            line = f"{task.name:16} {trial:28} {np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
            if trial != trials[-1]:
                # All tasks at once, as in `compare`.
                gain = difference(task.kind, rows, predicted[trials[-1]], predictions, level=1 - 0.05 / len(tasks))
                line += f"   {trials[-1]} {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
                if rows.group is not None and task.kind == "binary":
                    gain = within(rows, predicted[trials[-1]], predictions, level=1 - 0.05 / len(tasks))
                    line += f"   within users {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
            print(line, flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("try", "show", "baseline", "test"))
    parser.add_argument("group", choices=tuple(TRIALS))
    parser.add_argument("trials", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--read-test", action="store_true", help="baseline: print the test split as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (OUT / arguments.group).mkdir(parents=True, exist_ok=True)
    write_part(arguments.group)
    if arguments.what == "show":
        show(arguments.group)
    elif arguments.what == "baseline":
        baseline(arguments.group, test=arguments.read_test)
    elif arguments.what == "test":
        compare(arguments.group, arguments.trials, max(arguments.seeds, 2), arguments.minutes)
    else:
        end = time.monotonic() + 60 * arguments.minutes
        for seed in range(arguments.seeds):
            for trial in arguments.trials or TRIALS[arguments.group]["trials"]:
                if time.monotonic() < end and result(arguments.group, trial, seed) is None:
                    record = run(arguments.group, trial, seed)
                    values = main_values(arguments.group, record["validation"])
                    shown = " ".join(f"{name} {value:.4f}" for name, value in values.items())
                    print(f"{trial:28} {seed} {shown} epoch {record['epoch']} {record['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
