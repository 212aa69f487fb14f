"""JSON files of a run directory: read within limits, and checked against the format that a run writes."""

from pathlib import Path
from typing import Annotated, Any, TypedDict

from mtl_lightning.bounds import NonNegativeInt
from mtl_lightning.errors import MtlError
from mtl_lightning.structure import INFINITE, StructureError, check, read_json, shown

LARGEST = 1 << 30
"""Most bytes of such a file."""
Metrics = dict[str, Annotated[float, INFINITE] | None]
KINDS: dict[str, type] = {"recipe.json": str}
"""Types of files; all others contain a mapping."""


class SavedValidation(TypedDict):
    """Fields of a validation that commands read."""

    step: NonNegativeInt
    metrics: Metrics


class SavedTest(TypedDict):
    """Fields of the evaluation on the test split that commands read."""

    evaluations: NonNegativeInt
    metrics: Metrics


def read_run_file(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        MtlError: If it can't be read, or its content differs from the format that a run writes.
    """
    content = read_json(path, LARGEST)
    kind: type = KINDS.get(path.name, dict)
    if not isinstance(content, kind):
        expected = "text" if kind is str else "a mapping"
        raise MtlError(f"{path} holds {shown(content)}, not {expected}", "put the run's own file back")
    try:
        if path.name == "plugins.json":
            check(content, dict[str, str], "plugins")
        if path.name == "loggers.json":
            check(content, dict[str, dict[str, str]], "loggers")
        if path.name == "metrics.json":
            _check_metrics(content)
    except StructureError as error:
        raise MtlError(f"{path}: {error.message}", "put the run's own file back") from error
    return content


def _check_metrics(content: Any) -> None:
    """Check the parts that commands compute with; the others are only displayed."""
    if not isinstance(content.get("validations", []), list):
        raise StructureError(f"validations is {shown(content['validations'])}, not a list")
    for index, validation in enumerate(content.get("validations", [])):
        _check_part(validation, SavedValidation, f"validations[{index}]")
    if content.get("test") is not None:
        _check_part(content["test"], SavedTest, "test")
    if not isinstance(content.get("relations", {}), dict):
        raise StructureError(f"relations is {shown(content['relations'])}, not a mapping")


def _check_part(value: Any, record: Any, place: str) -> None:
    """Check the declared keys of a mapping that has others as well."""
    if not isinstance(value, dict):
        raise StructureError(f"{place} is {shown(value)}, not a mapping")
    check({key: value[key] for key in record.__annotations__ if key in value}, record, place)
