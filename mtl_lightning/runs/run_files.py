"""JSON files of a run's directory: read within bounds, and refused where they are not what a run writes."""

from pathlib import Path
from typing import Annotated, Any, TypedDict

from mtl_lightning.bounds import NonNegativeInt
from mtl_lightning.errors import MtlError
from mtl_lightning.structure import INFINITE, StructureError, check, read_json, shown

LARGEST = 1 << 30
"""Bytes of such a file at most."""
Metrics = dict[str, Annotated[float, INFINITE] | None]
KINDS: dict[str, type] = {"recipe.json": str}
"""Types of files; all others hold a mapping."""


class SavedValidation(TypedDict):
    """What is read of a validation."""

    step: NonNegativeInt
    metrics: Metrics


class SavedTest(TypedDict):
    """What is read of the evaluation on the test split."""

    evaluations: NonNegativeInt
    metrics: Metrics


def read_run_file(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        MtlError: If it can't be read, or holds something else than a run writes there.
    """
    found = read_json(path, LARGEST)
    kind: type = KINDS.get(path.name, dict)
    if not isinstance(found, kind):
        wanted = "text" if kind is str else "a mapping"
        raise MtlError(f"{path} holds {shown(found)}, not {wanted}", "put the run's own file back")
    try:
        if path.name == "plugins.json":
            check(found, dict[str, str], "plugins")
        if path.name == "metrics.json":
            _check_metrics(found)
    except StructureError as error:
        raise MtlError(f"{path}: {error.message}", "put the run's own file back") from error
    return found


def _check_metrics(found: Any) -> None:
    """Check the parts that commands go on from; the others are only shown."""
    if not isinstance(found.get("validations", []), list):
        raise StructureError(f"validations is {shown(found['validations'])}, not a list")
    for index, one in enumerate(found.get("validations", [])):
        _check_part(one, SavedValidation, f"validations[{index}]")
    if found.get("test") is not None:
        _check_part(found["test"], SavedTest, "test")
    if not isinstance(found.get("relations", {}), dict):
        raise StructureError(f"relations is {shown(found['relations'])}, not a mapping")


def _check_part(value: Any, record: Any, place: str) -> None:
    """Check the declared keys of a mapping that has others as well."""
    if not isinstance(value, dict):
        raise StructureError(f"{place} is {shown(value)}, not a mapping")
    check({key: value[key] for key in record.__annotations__ if key in value}, record, place)
