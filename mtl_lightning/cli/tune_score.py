"""The command ``tune score``: search the formula of the combined score of a run."""

from collections.abc import Sequence
from html import escape
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl_lightning.cli.run_arguments import open_run
from mtl_lightning.compare.tables import number
from mtl_lightning.config import Config, read_arguments
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.files import write_atomic
from mtl_lightning.report.render.console import first_console, say
from mtl_lightning.report.render.tables import plain_table
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.tune.score_file import FILE, PAGE

if TYPE_CHECKING:
    from mtl_lightning.data.store.store import Store
    from mtl_lightning.schema import Schema
    from mtl_lightning.training.network import Network
    from mtl_lightning.tune.fusion import Candidate, Ranked

SHOWN = 5
"""Number of formulas in the table, besides the default one."""


def tune_score(pairs: Sequence[str]) -> dict[str, Any]:
    """Search a formula on the validation split, compare it with the default one on the test split, and write both.

    Args:
        pairs: ``run=<run directory>``, ``objective=ndcg``, ``gauc`` or ``revenue``, ``k=10``, ``gain=<expression over
            labels>``, ``trials=100``, ``seed=0``.

    Returns:
        ``formula`` (of ``export``), ``best`` (on validation), ``objective``, ``k``, ``gain``, ``candidates`` and
        ``test``, as in ``score.json``.

    Raises:
        MtlError: If an argument is wrong, the data have no group or no validation split, or the objective is undefined.
        DataError: If the gain is not an expression of numbers over labels.
    """
    console = first_console()
    arguments = read_arguments(
        "tune score", pairs, ["run"], ["objective", "k", "gain", "trials", "seed"], settings="dotted"
    )
    from mtl_lightning.data.preparation.transforms import Transforms
    from mtl_lightning.export.formula import default_formula
    from mtl_lightning.fitting.steps import build_model, prepare_data
    from mtl_lightning.runs.resumption import load_weights
    from mtl_lightning.tune.fusion import OBJECTIVES, search

    objective = arguments.choose("objective", OBJECTIVES)
    numbers = (("k", 10, 1), ("trials", 100, 0), ("seed", 0, 0))
    k, trials, seed = (arguments.number(key, default, least) for key, default, least in numbers)
    run, config = open_run(arguments, console)
    schema = Transforms.load(run.transforms).schema
    tasks = [task.name for task in schema.tasks if task.traits.event_probability]
    if not tasks:
        raise MtlError("tune score: the run has no task with a probability", "a formula combines probabilities")
    if config.data.group is None:
        raise MtlError("tune score: the data have no group", "set data.group to the column of users, and train again")
    data = prepare_data(config, run)
    if data.schema != schema:
        raise MtlError(f"tune score: {run.path} was trained on other data", "give it the rows of its training")
    stores, module = data.prepared.stores, build_model(config, data)
    load_weights(module, run.weights())
    gain = arguments.own.get("gain") or " + ".join(f"{schema.task(task).weight:g} * {task}" for task in tasks)
    rows = {
        split: _rows(module.network, stores[split], schema, gain, config)
        for split in ("validation", "test")
        if split in stores and len(stores[split])
    }
    if "validation" not in rows:
        raise MtlError(f"tune score: {run.path} has no validation rows")
    default = default_formula(schema)
    assert default is not None  # there is a task with a probability
    validation, labels = rows["validation"]
    if not np.isfinite(validation.measure(objective, validation.gain, k)):
        raise MtlError(
            f"tune score: {objective} is undefined: no group of the validation split has rows with and without a gain"
        )
    candidates = search(validation, labels, schema, default, objective=objective, k=k, trials=trials, seed=seed)
    best = max(candidates, key=lambda candidate: candidate.value)
    test = _test(rows["test"][0], schema, best.text, default, objective, k) if "test" in rows else None
    shown = test is None or (test["difference"]["low"] or 0) > 0
    record = {
        "formula": best.text if shown else default,
        "best": best.text,
        "objective": objective,
        "k": k,
        "gain": gain,
        "candidates": [
            {**vars(candidate), "tasks": {task: _plain(value) for task, value in candidate.tasks.items()}}
            for candidate in candidates
        ],
        "test": test,
    }
    run.save_json(FILE, record)
    write_atomic(run.path / PAGE, _page(record, tasks))
    _print(console, record, candidates, run)
    return record


def _rows(
    network: "Network", store: "Store", schema: "Schema", gain: str, config: Config
) -> "tuple[Ranked, dict[str, Any]]":
    """Rows of a split with predictions and gains, and the labels of tasks with a probability; unknown labels are 0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from mtl_lightning.data.expressions.expression import Expression
    from mtl_lightning.runs.records.test_rows import predict_store
    from mtl_lightning.tune.fusion import Ranked

    predictions = predict_store(network, store, config.data.eval_batch_size)
    columns = {name.removeprefix("raw/"): part for name, part in store.parts.items() if name.startswith("raw/")}
    labels: dict[str, Any] = {}
    scalar: dict[str, Any] = {}
    for task in schema.tasks:
        if task.traits.scalar:
            scalar[task.name] = predictions[f"prediction/{task.name}"].astype(np.float64)
            known = store.parts["mask"][:, schema.task_index[task.name]]
            columns[task.name] = store.parts["labels"][:, schema.label_slices[task.name]][:, 0].where(known, 0)
            if task.traits.event_probability:
                labels[task.name] = columns[task.name].double().numpy()
    expression = Expression(gain, columns, place="gain")
    if unknown := next((name for name in expression.columns if name not in columns), None):
        hint = f"it may read {', '.join(columns)}; fit … run.slices=[{unknown}] keeps a column of numbers"
        raise DataError(f"gain: the run has no label or column {unknown!r}", hint)
    table = pa.table({name: np.asarray(columns[name]) for name in expression.columns})
    worth = pc.fill_null(pc.cast(expression.evaluate(table), pa.float64()), 0.0).to_numpy(zero_copy_only=False)
    group = store.parts["group"].numpy()
    ranked = Ranked.of({**scalar, **{f"label/{task}": label for task, label in labels.items()}}, worth, group)
    return ranked, {task: ranked.predictions[f"label/{task}"] for task in labels}


def _test(rows: "Ranked", schema: "Schema", best: str, default: str, objective: str, k: int) -> dict[str, Any]:
    """The objective on the test split of the default formula and of the best candidate, and their difference."""
    from mtl_lightning.export.formula import Formula

    score, other = (Formula(text, schema)(rows.predictions) for text in (best, default))
    difference = rows.difference(objective, score, other, k)
    measured = {"default": rows.measure(objective, other, k), "best": rows.measure(objective, score, k)}
    return {**{name: _plain(value) for name, value in measured.items()}, "difference": difference.to_dict()}


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _page(record: dict[str, Any], tasks: Sequence[str]) -> str:
    """HTML page with the GAUC of all formulas for each two tasks, and a table of the best ones."""
    from mtl_lightning.report.render.html import document, table
    from mtl_lightning.tune.page import STYLE, scatter

    shown = [candidate for candidate in record["candidates"] if None not in candidate["tasks"].values()]
    kinds = {
        candidate["text"]: "best" if candidate["text"] == record["best"] else "front" for candidate in _front(shown)
    }
    plots = ""
    for first, second in combinations(tasks, 2):
        points = [
            (
                candidate["tasks"][first],
                candidate["tasks"][second],
                kinds.get(candidate["text"], "trial"),
                f"{candidate['text']} ({candidate['origin']})",
            )
            for candidate in shown
        ]
        points.sort(key=lambda point: ("trial", "front", "best").index(point[2]))
        plots += scatter(f"GAUC of {first}", f"GAUC of {second}", points)
    rows = [
        [
            candidate["text"],
            candidate["origin"],
            f"{candidate['value']:.5f}",
            *(number(candidate["tasks"][task]) for task in tasks),
        ]
        for candidate in record["candidates"][: 10 * SHOWN]
    ]
    body = f"""<p>{len(record["candidates"])} formulas of the combined score on the validation split, for
{record["objective"]} with the gain {escape(record["gain"])}. On the front (green), no other formula orders the rows of
a group as well for every task and better for one. The chosen formula is orange if it is on the front.</p>
{plots}
{table(["formula", "origin", record["objective"], *(f"GAUC of {task}" for task in tasks)], rows)}"""
    return document("Formula of the combined score", body, STYLE)


def _front(candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Candidates that no other one dominates."""
    values = np.array([list(candidate["tasks"].values()) for candidate in candidates])
    return [
        candidate
        for candidate, own in zip(candidates, values, strict=True)
        if not ((values >= own).all(1) & (values > own).any(1)).any()
    ]


def _print(console: Any, record: dict[str, Any], candidates: "Sequence[Candidate]", run: RunDirectory) -> None:
    table = plain_table(["formula", "origin"], [f"validation\n{record['objective']}"])
    for candidate in candidates[: SHOWN + 1]:
        table.add_row(candidate.text, candidate.origin, f"{candidate.value:.5f}")
    console.print(table)
    test = record["test"]
    if test is not None and test["default"] is None:
        say(console, f"test {record['objective']}: undefined, for no group of the test split has a gain to order by")
    elif test is not None:
        low, high = test["difference"]["low"], test["difference"]["high"]
        ends = "" if low is None else f" (95% interval {low:+.5f} to {high:+.5f})"
        gain = test["best"] - test["default"]
        say(
            console,
            f"test {record['objective']}: {test['default']:.5f} by default, {gain:+.5f}{ends} with the best formula",
        )
    reason = (
        "" if record["formula"] == record["best"] else ", for the test rows do not show that the best one is better"
    )
    say(console, f"{run.path / FILE}: export uses score = {record['formula']}{reason}")
