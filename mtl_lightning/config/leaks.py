"""Checks of columns: the columns that a recipe names exist, and no feature leaks a label."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import pyarrow as pa

from mtl_lightning.config.draft import Draft
from mtl_lightning.config.lookups import Joined
from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.data.expressions.hints import backticks_hint
from mtl_lightning.data.features.base import Feature, expression_of
from mtl_lightning.data.features.history import History, HistoryTransform
from mtl_lightning.data.preparation.event_logs import EventLog
from mtl_lightning.data.preparation.lookups import Lookup
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.errors import DataError, Problem, did_you_mean
from mtl_lightning.interfaces import RawSchema
from mtl_lightning.schema import Task

TEXT = ("string", "large_string", "string_view", "binary", "large_binary", "dictionary<values=string")
LISTS = ("list", "large_list", "fixed_size_list", "list_view")
RECORDS = ("struct", "map")
NESTED = (*LISTS, *RECORDS)
SINGLE = ("data.group", "split.column", "split.time")
"""Settings that name a column with one value per row."""
FLAT = "make a column of each of its values"
UNFIT = {
    "numeric": (LISTS, "a number is needed", "kind sequence or vector fits"),
    "categorical": (LISTS, "one value per row is needed", "kind sequence fits"),
    "sequence": (("int", "uint", "float", "double", "halffloat", "bool", "date", "timestamp"),
                 "a list or delimited text is needed", "kind categorical fits"),
    "history": (LISTS, "one value per row is needed", "a history is built of rows, kind sequence of lists"),
}  # fmt: skip
"""Kind of feature → types that don't fit it, the reason, and a remedy. Text may hold numbers; preparation checks it."""


def expressions(task: Task) -> Iterator[tuple[str, str]]:
    """Places and texts of a task's expressions."""
    for name in ("label", "observed_when", "sample_weight"):
        text = getattr(task, name)
        if text is not None:
            yield f"tasks.{task.name}.{name}", text


def check_columns(
    draft: Draft,
    raw: RawSchema | None,
    split: SplitSpec | None,
    group: str | None,
    accepted: Collection[str] = (),
    lookups: Joined = MappingProxyType({}),
    request: Sequence[str] = (),
) -> None:
    """Check every column that the recipe names. Without the source's schema, only expressions are parsed.

    Args:
        draft: The configuration so far.
        raw: The source's schema, if it can be read.
        split: How rows are divided.
        group: Column with the user.
        accepted: Names of findings that are expected: ``leak:<feature>:<task>`` lets a feature read a part of a label.
        lookups: Columns of side tables.
        request: Columns of a request.
    """
    used: dict[str, str] = {}
    labels: dict[str, list[Task]] = {}
    for task in draft.tasks.values():
        for path, text in expressions(task):
            try:
                columns = Expression(text, raw.columns if raw else (), path).columns
            except DataError as error:
                if raw is not None or not re.fullmatch(r"[\w\s]+", text):  # otherwise it may be the name of a column
                    draft.problem(path, error.message.removeprefix(f"{path}: "), error.hint)
                continue
            for column in columns:
                _exists(draft, raw, path, column, text)
                if path.endswith(".label"):
                    labels.setdefault(column, []).append(task)
        if task.oracle is not None:
            used[f"tasks.{task.name}.oracle"] = task.oracle
    used |= draft.columns
    used |= {f"data.request.{i}": column for i, column in enumerate(request)}
    if group is not None:
        used["data.group"] = group
    if split is not None:
        used |= {f"split.{name}": value for name in ("column", "time") if (value := getattr(split, name)) is not None}
    for path, column in used.items():
        if (
            _exists(draft, raw, path, column)
            and raw is not None
            and (path in SINGLE or path.startswith("data.request."))
        ):
            held = raw.columns[column]
            if held.startswith(NESTED):
                draft.problem(path, f"{column!r} holds {held}, and one value per row is needed", "name another column")
    for path, column in draft.columns.items():
        if raw is not None and column in raw.oracle and not path.startswith("metrics."):
            draft.problem(path, f"{column!r} holds true probabilities, which a model must not see")
    _features(draft, raw, labels, accepted, lookups)


def _exists(draft: Draft, raw: RawSchema | None, path: str, column: str, expression: str = "") -> bool:
    if raw is None or column in raw.columns:
        return True
    hint = backticks_hint(expression, raw.columns) or did_you_mean(column, raw.columns)
    draft.problem(path, f"no column {column!r}", hint)
    return False


def _is_label(column: str, task: Task) -> bool:
    return task.label.strip() in (column, f"`{column}`")


def _accepted(feature: str, column: str, task: Task, accepted: Collection[str]) -> bool:
    return not _is_label(column, task) and f"leak:{feature}:{task.name}" in accepted


def _events(draft: Draft, raw: RawSchema | None, path: str, feature: Feature, name: str, lookups: Joined) -> None:
    """Columns that a feature reads of earlier rows exist; labels may be among them, true probabilities not."""
    if isinstance(feature, History) and feature.from_ is not None and raw is not None:
        try:
            transform = HistoryTransform(name, feature, ())
            keys = {column.partition(".")[0]: key for column, (_, key) in lookups.items()}
            transform.lookups = [Lookup(table, key or "") for table, key in keys.items()]
            log = EventLog(name, transform)
            # A recipe is valid before its data is there, as with raw logs.
            if log.exists() and None not in keys.values():
                log.check()
        except DataError as error:
            draft.problems.append(Problem.from_error(error, f"{path}.from"))
    for column in feature.event_columns(name):
        if column in feature.columns(name) or not _exists(draft, raw, path, column) or raw is None:
            continue
        if column in raw.oracle:
            draft.problem(path, f"leak: {column!r} holds true probabilities", "leave it out of with and where")
        elif (held := raw.columns[column]).startswith(NESTED):
            draft.problem(path, f"{column!r} holds {held}, and one value per row is needed", "name another column")


def _keys(names: Iterable[str], lookups: Joined) -> tuple[str, ...]:
    """Columns of a log, with the keys of side tables in place of their columns."""
    keys = [lookups[name][1] if name in lookups else name for name in names]
    return tuple(dict.fromkeys(key for key in keys if key is not None))


def _expression(draft: Draft, raw: RawSchema | None, path: str, feature: Feature) -> None:
    """Check that the expression of a feature can be computed of columns of these types, as far as they are known."""
    text = expression_of(feature)
    if text is None or raw is None:
        return
    columns = {}
    for column in Expression(text).columns:
        held = raw.columns.get(column, "")
        if held.startswith(NESTED):
            draft.problem(f"{path}.expression", f"{column!r} holds {held}, and one value per row is needed", FLAT)
            return
        try:
            columns[column] = pa.nulls(0, pa.type_for_alias(held))
        except ValueError:  # a column that is reported as missing, or a type without a short name
            return
    try:
        Expression(text).compute(columns, 0)
    except DataError as error:
        draft.problem(f"{path}.expression", error.message, error.hint)


def _features(
    draft: Draft,
    log: RawSchema | None,
    labels: Mapping[str, list[Task]],
    accepted: Collection[str],
    lookups: Joined,
) -> None:
    """Check that the columns of features exist, fit their kind, and are known before the event."""
    raw = log
    if log is not None:
        raw = replace(log, columns={**log.columns, **{name: kind for name, (kind, _) in lookups.items()}})
    for name, feature in draft.features.items():
        path = f"features.{name}"
        _events(draft, raw, path, feature, name, lookups)
        _expression(draft, raw, path, feature)
        read_columns = feature.columns(name)
        plain = read_columns if expression_of(feature) is None else ()
        for column in dict.fromkeys([*read_columns, *_keys(read_columns, lookups)]):
            if not _exists(draft, raw, path, column):
                continue
            read = [task for task in labels.get(column, ()) if not _accepted(name, column, task, accepted)]
            if read:
                task = read[0]
                part, hint = "", f"remove the feature ({path}=null)"
                if not _is_label(column, task):
                    part, hint = "part of ", f"{hint}, or data.accept=[leak:{name}:{task.name}] if it is known before"
                draft.problem(path, f"leak: {column!r} is {part}the label of task {task.name!r}", hint)
            elif raw is not None and column in raw.oracle:
                draft.problem(path, f"leak: {column!r} holds true probabilities", f"remove the feature ({path}=null)")
            elif raw is not None and column in raw.after_event:
                draft.problem(path, f"leak: {column!r} is known only after the event", f"remove it ({path}=null)")
            elif raw is not None and feature.kind in UNFIT and column in plain:
                types, reason, hint = UNFIT[feature.kind]
                held = raw.columns[column]
                if held.startswith((*types, *RECORDS)):
                    hint = FLAT if held.startswith(RECORDS) else hint
                    draft.problem(path, f"{column!r} holds {held}, and {reason}", hint)
