"""Checks of columns before rows are read: they exist, and no feature reads a column that would leak labels."""

from collections.abc import Collection

from mtl_lightning.data.arrow.columns import require
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.interfaces import RawSchema


def check_columns(transforms: Transforms, split: SplitSpec, schema: RawSchema, accept: Collection[str] = ()) -> None:
    """Check that columns exist, and that no feature reads a column that is known only after the event.

    Args:
        transforms: Transforms to be fitted.
        split: How rows are divided.
        schema: Schema of the source.
        accept: Names of accepted findings, ``leak:<feature>:<task>``.

    Raises:
        DataError: If a check fails; the message names the feature, task or option, and the column.
    """
    if not transforms.labels:
        raise DataError("tasks: there is nothing to predict", "add a task")
    names = list(schema.columns)
    places = {f"features.{name}": columns for name, columns in transforms.feature_columns.items()}
    places |= {f"tasks.{name}": label.columns for name, label in transforms.labels.items()}
    places |= {
        "raw": transforms.raw,
        "group": (transforms.group,) if transforms.group else (),
        "split": (*split.columns, *split.cold),
        "data.request": transforms.request,
    }
    places |= {f"data.lookup.{name}.on": (lookup.on,) for name, lookup in transforms.lookups.items()}
    for place, columns in places.items():
        require(names, columns, place)
    for name in transforms.per_request or ():
        if not transforms.request:
            raise DataError("data.per_request: there are no requests", "set data.request to their columns")
        if name not in transforms.features:
            hint = did_you_mean(name, transforms.features)
            raise DataError(f"data.per_request: no feature {name!r}", hint)
    for name in transforms.histories:
        if readers := [other for other, columns in transforms.feature_columns.items() if name in columns]:
            reason = f"is also the name of a column that {readers[0]!r} reads, and requests bring events under it"
            raise DataError(f"features.{name}: {reason}", "rename the feature")
    for name, columns in transforms.event_columns.items():
        require(names, columns, f"features.{name}")
        if true := [column for column in columns if column in schema.oracle]:
            raise DataError(f"features.{name}: {true[0]!r} holds true probabilities", "leave it out of with and where")
    for name, columns in transforms.feature_columns.items():
        for column in columns:
            _check_labels(transforms, name, column, accept)
            if column in schema.after_event or column in schema.oracle:
                raise DataError(
                    f"features.{name}: {column!r} is known only after the event", "it would leak the labels"
                )


def _check_labels(transforms: Transforms, feature: str, column: str, accept: Collection[str]) -> None:
    """Refuse a feature that reads the only column of a label, unless the label is an expression and it is accepted."""
    for task, label in transforms.labels.items():
        if label.label.columns != (column,):
            continue
        leak, hint = f"leak:{feature}:{task}", "remove the feature"
        if not label.label.is_column:
            if leak in accept:
                continue
            hint = f"{hint}, or accept [{leak}] if it is known before"
        raise DataError(f"features.{feature}: reads {column!r}, of which the label of task {task!r} is made", hint)
