"""The manifest of an export: what is in the folder, what goes in and what comes out; and its checks."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Self, TypedDict

from mtl_lightning.bounds import Bounds, NonNegativeFloat, NonNegativeInt, PositiveInt
from mtl_lightning.data.features.state_structure import check_schema
from mtl_lightning.errors import MtlError
from mtl_lightning.files import open_regular, write_atomic
from mtl_lightning.schema import Schema
from mtl_lightning.structure import StructureError, check, read_json, shown

NAME = "manifest.json"
MODEL, TENSORS, PROGRAM, WEIGHTS, TRANSFORMS = (
    "model.onnx",
    "model.onnx.data",
    "model.pt2",
    "weights.safetensors",
    "transforms.json",
)
FILES = (MODEL, PROGRAM, WEIGHTS, TRANSFORMS)
"""Files that every export has; ``model.onnx.data`` is there if the model has large tensors."""
FORMAT = 1
LONGEST = 64 << 20
"""Bytes of a manifest at most."""
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Input(TypedDict):
    """One input of the model."""

    name: str
    dtype: Literal["int64", "float32", "float64"]
    shape: Annotated[list[NonNegativeInt | None], Bounds(ge=1)]


class Output(TypedDict):
    """One output of the model."""

    name: str
    kind: str
    width: PositiveInt


class Group(TypedDict):
    """One line of a reliability table."""

    rows: NonNegativeFloat
    predicted: float
    observed: float


class Calibration(TypedDict):
    """What was measured of a task on validation."""

    rows: NonNegativeFloat
    predicted: NotRequired[float]
    observed: NotRequired[float]
    a: NotRequired[float | None]
    b: NotRequired[float | None]
    reliability: NotRequired[list[Group]]


class File(TypedDict):
    """Size and hash of a file."""

    bytes: NonNegativeInt
    sha256: str


PARTS: dict[str, Any] = {
    "inputs": Annotated[list[Input], Bounds(ge=1)],
    "outputs": dict[str, Output],
    "calibration": dict[str, Calibration],
    "files": dict[str, File],
}
"""Structure of the parts of a manifest, in which every value is checked."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an export's folder holds.

    Args:
        format: Version of this layout.
        recipe: Short name of the run's recipe.
        checkpoint: The checkpoint that was exported.
        components: ``encoder``, ``architecture`` and ``heads``, as a recipe has them.
        plugins: Versions of the plugins.
        packages: Versions of the packages that wrote the files.
        schema: The fitted schema; see :meth:`Schema.to_dict`.
        inputs: The model's inputs in order: ``name``, ``dtype`` and ``shape`` (rows first, as null).
        columns: Raw columns that a row must have, with the features that read each.
        outputs: The model's output per task: ``name``, ``kind``, ``width`` (1 for one value per row).
        calibration: Measured on validation; see :func:`mtl_lightning.export.calibration.measure`. Empty if it wasn't.
        score: The formula of the combined score, or None.
        files: Per file its ``bytes`` and ``sha256``.

    Raises:
        MtlError: From :meth:`open`, if the folder is no export, or isn't what its manifest says.

    Example:
        ``Manifest.open(Path("exports/ads")).score``
    """

    format: int
    recipe: str
    checkpoint: str
    components: dict[str, Any]
    plugins: dict[str, str]
    packages: dict[str, str]
    schema: dict[str, Any]
    inputs: list[dict[str, Any]]
    columns: dict[str, list[str]]
    outputs: dict[str, dict[str, Any]]
    calibration: dict[str, dict[str, Any]] = field(default_factory=dict)
    score: str | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the manifest, if :meth:`open` takes what is in it."""
        content = json.dumps(asdict(self), indent=2, ensure_ascii=False, default=str)
        self._checked(json.loads(content), folder / NAME)
        write_atomic(folder / NAME, content + "\n")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the manifest of a folder and check every file against it: name, size, hash."""
        path = folder / NAME
        try:
            state = read_json(path, LONGEST)
        except FileNotFoundError as error:
            raise MtlError(f"{folder} is no export: it has no {NAME}", "export run=… makes one") from error
        manifest = cls._checked(state, path)
        for name, expected in manifest.files.items():
            check_file(folder, name, expected)
        return manifest

    @classmethod
    def _checked(cls, state: Any, path: Path) -> Self:
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise MtlError(f"{path} is no manifest of format {FORMAT}", "export the run again with this version")
        known = cls.__dataclass_fields__.keys()
        if set(state) != set(known):
            different = [key if key.isprintable() else shown(key) for key in sorted(set(state) ^ set(known))]
            raise MtlError(f"{path}: keys are missing or unknown: {', '.join(different)}")
        try:
            check(state, cls, "")
            for name, structure in PARTS.items():
                check(state[name], structure, name)
            check_schema(state["schema"], "schema")
            _check_calibration(state["calibration"])
        except StructureError as error:
            raise MtlError(f"{path}: {error.message}", error.hint) from error
        missing = [name for name in FILES if name not in state["files"]]
        if missing:
            raise MtlError(f"{path} names no {', '.join(missing)}")
        return cls(**state)

    @property
    def fitted(self) -> Schema:
        """The schema as an object."""
        return Schema.from_dict(self.schema)


def _check_calibration(calibration: Mapping[str, Mapping[str, Any]]) -> None:
    for task, measured in calibration.items():
        for left, right in (("a", "b"), ("predicted", "observed")):
            if (measured.get(left) is None) != (measured.get(right) is None):
                raise StructureError(f"calibration.{task} has {left!r} or {right!r} alone")


def check_file(folder: Path, name: str, expected: Mapping[str, Any]) -> Path:
    """Check one file of an export.

    Args:
        folder: The export.
        name: A plain name: no path leads out of the folder.
        expected: Its ``bytes`` and ``sha256``.

    Raises:
        MtlError: If the name is no plain name, or the file is missing, a link, or another than the manifest says.
    """
    if not PLAIN.fullmatch(name) or name == NAME:
        raise MtlError(f"{folder / NAME} names a file {name!r}", "only plain names of files beside it are allowed")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise MtlError(f"{path} is no file", "the export is incomplete")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise MtlError(f"{path} has {size:,} bytes, not {expected['bytes']} as its manifest says")
    if digest(path) != expected["sha256"]:
        raise MtlError(f"{path} is not the file that was exported: its SHA-256 differs from the manifest's")
    return path


def describe(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and hash of every file of a folder, for its manifest."""
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": digest(path)}
        for path in sorted(folder.iterdir())
        if path.name != NAME
    }


def digest(path: Path) -> str:
    """SHA-256 of a regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # BinaryIO has no readinto
