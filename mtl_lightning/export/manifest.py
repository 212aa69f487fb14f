"""Manifest of an export: its files, inputs, outputs and calibration, with their checks."""

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
"""File name of the manifest."""

MODEL, TENSORS, PROGRAM, WEIGHTS, TRANSFORMS = (
    "model.onnx",
    "model.onnx.data",
    "model.pt2",
    "weights.safetensors",
    "transforms.json",
)
FILES = (MODEL, PROGRAM, WEIGHTS, TRANSFORMS)
"""Files of every export; ``model.onnx.data`` exists only if the model has large tensors."""

FORMAT = 1
"""Version of the format of manifests."""

LONGEST = 64 << 20
"""Largest number of bytes of a manifest."""

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of files without directories."""


class Input(TypedDict):
    """An input of the model."""

    name: str
    dtype: Literal["int64", "float32", "float64"]
    shape: Annotated[list[NonNegativeInt | None], Bounds(ge=1)]


class Output(TypedDict):
    """An output of the model."""

    name: str
    kind: str
    width: PositiveInt


class Group(TypedDict):
    """A row of a reliability table."""

    rows: NonNegativeFloat
    predicted: float
    observed: float


class Parts(TypedDict):
    """Calibration of parts of the rows, by the id of a feature."""

    feature: str
    ids: Annotated[list[NonNegativeInt], Bounds(ge=1)]
    a: list[float]
    b: list[float]


class Calibration(TypedDict):
    """Calibration of a task on the validation split."""

    rows: NonNegativeFloat
    predicted: NotRequired[float]
    observed: NotRequired[float]
    a: NotRequired[float | None]
    b: NotRequired[float | None]
    points: NotRequired[list[list[float]]]
    parts: NotRequired[Parts]
    reliability: NotRequired[list[Group]]


class File(TypedDict):
    """Size and SHA-256 of a file."""

    bytes: NonNegativeInt
    sha256: str


class Graph(TypedDict):
    """A graph that was measured."""

    name: str
    bytes: NonNegativeInt
    milliseconds: NonNegativeFloat
    auc: dict[str, float | None]


class Compressed(TypedDict):
    """Types of the numbers of the graph, and measurements next to float32."""

    tables: str
    dense: str
    max_auc_loss: NonNegativeFloat
    rows: NonNegativeInt
    graphs: list[Graph]


OPTIONAL = ("compressed",)
"""Keys that a manifest has only if their values are not empty."""

PARTS: dict[str, Any] = {
    "inputs": Annotated[list[Input], Bounds(ge=1)],
    "outputs": dict[str, Output],
    "calibration": dict[str, Calibration],
    "files": dict[str, File],
}
"""Structure of the parts of a manifest whose values are checked as well."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of the folder of an export.

    Args:
        format: Version of the format.
        recipe: Short name of the run's recipe.
        checkpoint: File name of the exported checkpoint.
        components: ``encoder``, ``architecture`` and ``heads``, as in a recipe.
        plugins: Versions of the plugins.
        packages: Versions of the packages that wrote the files.
        schema: Fitted schema; see :meth:`Schema.to_dict`.
        inputs: ``name``, ``dtype`` and ``shape`` of the model's inputs in order; the first size is null, for rows.
        columns: Raw columns that rows need, each with the features that read it.
        outputs: ``name``, ``kind`` and ``width`` of the output per task; the width is 1 for one value per row.
        calibration: Calibration per task; see :func:`mtl_lightning.export.calibration.measure`. Empty if not measured.
        score: Formula of the combined score, or None.
        files: ``bytes`` and ``sha256`` per file.
        compressed: Types of numbers of a compressed graph, and its size, latency and AUC; empty for float32.

    Raises:
        MtlError: From :meth:`open`, if the folder is not an export, or differs from its manifest.

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
    compressed: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the manifest.

        Raises:
            MtlError: If a value would be refused by :meth:`open`.
        """
        state = {key: value for key, value in asdict(self).items() if value or key not in OPTIONAL}
        content = json.dumps(state, indent=2, ensure_ascii=False, default=str)
        self._parse(json.loads(content), folder / NAME)
        write_atomic(folder / NAME, content + "\n")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the manifest of a folder, and check the name, size and hash of every file.

        Raises:
            MtlError: If the folder is not an export, or differs from its manifest.
        """
        path = folder / NAME
        try:
            state = read_json(path, LONGEST)
        except FileNotFoundError as error:
            raise MtlError(f"{folder} is not an export: it has no {NAME}", "export run=… writes an export") from error
        manifest = cls._parse(state, path)
        for name, expected in manifest.files.items():
            check_file(folder, name, expected)
        return manifest

    @classmethod
    def _parse(cls, state: Any, path: Path) -> Self:
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise MtlError(f"{path} is not a manifest of format {FORMAT}", "export the run again with this version")
        known = cls.__dataclass_fields__.keys()
        if (set(state) ^ set(known)) - {*OPTIONAL}:
            odd = sorted((set(state) ^ set(known)) - {*OPTIONAL})
            different = [key if key.isprintable() else shown(key) for key in odd]
            raise MtlError(f"{path}: keys are missing or unknown: {', '.join(different)}")
        try:
            check({"compressed": {}, **state}, cls, "")
            if "compressed" in state:
                check(state["compressed"], Compressed, "compressed")
            for name, structure in PARTS.items():
                check(state[name], structure, name)
            check_schema(state["schema"], "schema")
            _check_calibration(state["calibration"])
        except StructureError as error:
            raise MtlError(f"{path}: {error.message}", error.hint) from error
        missing = [name for name in FILES if name not in state["files"]]
        if missing:
            raise MtlError(f"{path} does not list {', '.join(missing)}")
        return cls(**state)

    @property
    def fitted(self) -> Schema:
        """Schema as an object."""
        return Schema.from_dict(self.schema)


def _check_calibration(calibration: Mapping[str, Mapping[str, Any]]) -> None:
    for task, measured in calibration.items():
        for left, right in (("a", "b"), ("predicted", "observed")):
            if (measured.get(left) is None) != (measured.get(right) is None):
                raise StructureError(f"calibration.{task} has {left!r} or {right!r} alone")
        points, parts = measured.get("points", []), measured.get("parts")
        xs, ys = [point[:1] for point in points], [point[1:] for point in points]
        if any(len(point) != 2 for point in points) or xs != sorted(xs) or ys != sorted(ys):
            raise StructureError(f"calibration.{task}.points are not increasing pairs")
        if parts is not None:
            ids = parts["ids"]
            if ids != sorted(set(ids)) or not len(ids) == len(parts["a"]) == len(parts["b"]):
                raise StructureError(f"calibration.{task}.parts has unequal lists, or ids that don't increase")


def check_file(folder: Path, name: str, expected: Mapping[str, Any]) -> Path:
    """Check a file of an export, and return its path.

    Args:
        folder: Folder of the export.
        name: Name of the file, without directories.
        expected: ``bytes`` and ``sha256`` of the file.

    Raises:
        MtlError: If the name has directories, or the file is missing, is a link, or has another size or hash.
    """
    if not PLAIN.fullmatch(name) or name == NAME:
        raise MtlError(f"{folder / NAME} names a file {name!r}", "only names of files in the same folder are allowed")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise MtlError(f"{path} is not a file", "the export is incomplete")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise MtlError(f"{path} has {size:,} bytes, not {expected['bytes']} as its manifest says")
    if digest(path) != expected["sha256"]:
        raise MtlError(f"{path} is not the file that was exported: its SHA-256 differs from the manifest's")
    return path


def describe(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the size and hash of every file in a folder, for its manifest."""
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": digest(path)}
        for path in sorted(folder.iterdir())
        if path.name != NAME
    }


def digest(path: Path) -> str:
    """Return the SHA-256 of a regular file, in hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # BinaryIO has no readinto
