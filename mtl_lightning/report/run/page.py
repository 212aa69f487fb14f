"""A run as one HTML page without scripts."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from mtl_lightning.errors import MtlError
from mtl_lightning.files import write_atomic
from mtl_lightning.report.evaluation.page import TABLES, evaluation_sections
from mtl_lightning.report.evaluation.reliability import STYLE
from mtl_lightning.report.render.html import document, table
from mtl_lightning.report.render.svg import bars, curves
from mtl_lightning.report.render.tables import by_task, number
from mtl_lightning.report.run.importance import importance_section
from mtl_lightning.report.run.record import RunRecord, read_record
from mtl_lightning.report.training.relation_plots import average, label_plots, relation_plots
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.curves import Curve, finite

PAGE = "report.html"
"""Name of the page in the run directory."""
LOGGED = (
    ("train/loss/", "Training loss by task"),
    ("train/auxiliary/", "Auxiliary objectives"),
    ("train/weight/", "Task weights"),
    ("members/", "Weights of the tasks' members"),
    ("train/lr/", "Learning rate by parameter group"),
)
"""Prefixes of logged values that form a plot, with its title."""
PAGE_STYLE = """
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem; }
.wide { overflow-x: auto; } .wide svg { min-width: 36rem; }
pre { overflow-x: auto; font-size: .85rem; }
"""
PARTS_MS = ("data", "forward", "weighter", "backward", "optimizer")


def write_page(run: RunDirectory, path: Path | None = None) -> Path:
    """Write the page of a run; return its path.

    Args:
        run: The run directory.
        path: The file; None for ``report.html`` in the run directory.

    Raises:
        MtlError: If a record of the run is damaged, or the file can't be written.
    """
    target = run.path / PAGE if path is None else path
    record = read_record(run)
    try:
        text = run_page(record)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"{run.path}: its records can't be shown: {type(error).__name__} {error}"
        raise MtlError(
            reason, "put the run's own metrics.json, resources.json, data.json and importance.json back"
        ) from error
    try:
        write_atomic(target, text)
    except OSError as error:
        raise MtlError(f"{target} can't be written: {error.strerror}", "choose another out=") from error
    return target


def page_below(folder: Path, run: Path) -> str | None:
    """Path of the page of a run relative to a folder above it, for a link; None if the run has no page.

    Args:
        folder: Folder of the page with the link.
        run: The run directory.
    """
    page = run / PAGE
    return page.relative_to(folder).as_posix() if page.is_file() else None


def run_page(record: RunRecord) -> str:
    """HTML page of a run.

    Args:
        record: Result of :func:`~mtl_lightning.report.run.record.read_record`.

    Example:
        >>> validation = {"step": 16, "epoch": 1, "metrics": {"validation/click/auc": 0.7, "validation/score": 0.7}}
        >>> record = RunRecord(name="first", recipe="ads", config="seed: 0", versions={}, data={}, resources={},
        ...                    curves={"train/loss/click": [(10, 0.5)]},
        ...                    metrics={"validations": [validation], "test": None})
        >>> run_page(record).count("<svg")
        3
    """
    sections = [
        *_data(record.data),
        *_quality(record),
        *_training(record),
        *_evaluation(record.metrics.get("evaluation")),
        *_relations(record.metrics.get("relations", {})),
        *importance_section(record.importance),
        *_cost(record.resources),
        *_settings(record),
    ]
    title = f"Run {record.name}" + (f" of {record.recipe}" if record.recipe else "")
    return document(title, "\n".join([f"<p>{_state(record)}</p>", *sections]), STYLE + TABLES + PAGE_STYLE)


def _state(record: RunRecord) -> str:
    """Say whether the run is complete, and which validation was the best."""
    scores = finite(record.score)
    complete = "complete" if record.metrics.get("complete") else "not complete"
    if not scores:
        return f"The run is {complete}, without a validation."
    step, best = max(scores, key=lambda pair: pair[1])
    return f"The run is {complete}. Its best validation score is {number(best)}, at step {step:,}."


def _data(facts: Mapping[str, Any]) -> Iterator[str]:
    if not facts:
        return
    yield "<h2>Data</h2>"
    yield f"<p>{', '.join(f'{split} {rows:,} rows' for split, rows in facts['rows'].items())}.</p>"
    yield table(["task", "kind", "known", "mean label"], facts["tasks"])
    if ids := facts.get("ids"):
        counts = [[name, *(f"{count:,}" for count in part.values())] for name, part in ids.items()]
        yield "<h3>Ids that come and go</h3>" + table(["feature", *next(iter(ids.values()))], counts)
    if facts["findings"]:
        listed = [[finding["level"], finding["reason"], finding["hint"]] for finding in facts["findings"]]
        yield "<h3>Findings</h3>" + table(["level", "finding", "hint"], listed)


def _quality(record: RunRecord) -> Iterator[str]:
    """The metrics of the best validation and of the test, side by side."""
    scores = finite(record.score)
    best = max(scores, key=lambda pair: pair[1])[0] if scores else None
    results: Mapping[str, Any] = next(
        (entry["metrics"] for entry in record.metrics["validations"] if entry["step"] == best), {}
    )
    test = record.metrics["test"] or {"metrics": {}}
    columns = {
        "validation": by_task({name: _value(value) for name, value in results.items()}, "validation"),
        "test": by_task({name: _value(value) for name, value in test["metrics"].items()}, "test"),
    }
    columns = {split: tasks for split, tasks in columns.items() if tasks}
    if not columns:
        return
    names = dict.fromkeys((task, metric) for tasks in columns.values() for task in tasks for metric in tasks[task])
    rows = [
        [f"{task} {metric}", *(_cell(tasks.get(task, {}).get(metric)) for tasks in columns.values())]
        for task, metric in names
    ]
    yield "<h2>Quality</h2>" + table(["metric", *columns], rows)
    if spaces := test.get("spaces"):
        yield f"<p>Rows that count: {escape('; '.join(f'{task}: {space}' for task, space in spaces.items()))}.</p>"
    if (times := test.get("evaluations", 0)) > 1:
        yield f"<p>The test split was evaluated {times} times: choose between runs on validation.</p>"


def _training(record: RunRecord) -> Iterator[str]:
    yield "<h2>Training</h2>"
    plots = [(title, _lines(record.curves, prefix)) for prefix, title in LOGGED]
    if not any(lines for _, lines in plots[:1]):
        yield "<p>Training losses were not logged: the run is shorter than <code>trainer.log_every_n_steps</code>, "
        yield "or <code>run.loggers</code> has neither <code>tensorboard</code> nor <code>csv</code>.</p>"
    for task, metrics in _validated(record).items():
        plots.insert(
            1, (f"Validation, {task}", {metrics[0]: finite(record.validated(f"validation/{task}/{metrics[0]}"))})
        )
    plots.append(("Validation score", {"score": finite(record.score)}))
    yield '<div class="plots">'
    for title, lines in plots:
        if any(lines.values()):
            yield curves(title, {name: line for name, line in lines.items() if line})
    yield "</div>"


def _lines(logged: Mapping[str, Curve], prefix: str) -> dict[str, Curve]:
    return {name.removeprefix(prefix): finite(curve) for name, curve in logged.items() if name.startswith(prefix)}


def _validated(record: RunRecord) -> dict[str, list[str]]:
    """The metrics of each task, the last task first."""
    entries = record.metrics["validations"]
    tasks = (
        by_task({name: _value(value) for name, value in entries[-1]["metrics"].items()}, "validation")
        if entries
        else {}
    )
    return {task: list(metrics) for task, metrics in reversed(tasks.items())}


def _evaluation(summary: Mapping[str, Any] | None) -> Iterator[str]:
    yield "<h2>Detailed evaluation</h2>"
    if summary is None:
        yield "<p>Calibration, decisions and slices are here after a run or a test with "
        yield "<code>run.evaluation=true</code> or <code>run.slices=[…]</code>.</p>"
    else:
        yield evaluation_sections(summary)


def _relations(relations: Mapping[str, Any]) -> Iterator[str]:
    means = average([relations])
    plots = [*label_plots(means), *relation_plots(means)]
    if plots:
        yield "<h2>Relations between tasks</h2>"
        yield "<p>Predictions and gates are from the test split, or from validation before a test. Gradients and "
        yield "look-ahead steps were sampled in training.</p>"
        yield from map(_wide, plots)


def _cost(resources: Mapping[str, Any]) -> Iterator[str]:
    if not resources:
        return
    yield "<h2>Cost</h2>"
    facts = [
        ("training steps", resources.get("steps"), ",.0f"),
        ("time of a step, ms", resources.get("step_ms"), ",.2f"),
        ("samples per second", resources.get("samples_per_second"), ",.0f"),
        ("peak memory, MB", resources.get("peak_memory_mb"), ",.0f"),
        ("peak memory of the GPU, MB", resources.get("peak_gpu_memory_mb"), ",.0f"),
    ]
    yield table(["cost", "value"], [[name, format(value, form)] for name, value, form in facts if value is not None])
    if times := resources.get("parts_ms"):
        yield _wide(bars("Parts of a training step", [(part, times.get(part)) for part in PARTS_MS], "ms"))
    if counts := resources.get("parameters"):
        yield _wide(bars("Parameters", list(counts.items()), ""))


def _settings(record: RunRecord) -> Iterator[str]:
    yield "<h2>Settings</h2>"
    if record.versions:
        yield table(["plugin", "version"], [list(pair) for pair in record.versions.items()])
    yield f"<details><summary>config.yaml</summary><pre>{escape(record.config)}</pre></details>"


def _wide(plot: str) -> str:
    """A plot that is scrolled on a narrow screen instead of shrunk."""
    return f'<div class="wide">{plot}</div>'


def _value(value: float | None) -> float:
    return float("nan") if value is None else value


def _cell(value: float | None) -> str:
    return "–" if value is None else number(value)
