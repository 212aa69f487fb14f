"""Search spaces: ``log(1e-4, 1e-2)``, ``uniform(0, 0.5)``, ``int(1, 8)``, ``logint(16, 256)`` or a list."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from mtl_lightning.config.limits import MAX_BYTES
from mtl_lightning.config.yaml_text import check_size
from mtl_lightning.errors import MtlError
from mtl_lightning.files import read_regular

DEFAULT = "default"
RANGES = {"log": (float, True), "uniform": (float, False), "int": (int, False), "logint": (int, True)}
"""Function of a range → type of its values, and True for a logarithmic scale."""

_CALL = re.compile(r"(\w+)\(([^,()]+),([^,()]+)\)")
_HINT = "write log(1e-4, 1e-2), uniform(0, 0.5), int(1, 8), logint(16, 256), or a list such as [8, 16]"


@dataclass(frozen=True)
class Dimension:
    """One setting to search.

    Args:
        key: Dotted key of the setting.
        choices: Values as text, for a setting with a list of values.
        low: Smallest value of a range.
        high: Largest value of a range.
        whole: True for integers.
        log: True for a logarithmic scale.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False

    @property
    def probes(self) -> tuple[str, ...]:
        """Values to validate before a trial runs: both ends of a range, or the whole list."""
        return self.choices or (self.text(self.low), self.text(self.high))

    def text(self, value: Any) -> str:
        """A value as text for a ``key=value`` pair.

        Example:
            >>> read_dimension("optimizer.lr", "log(1e-4, 1e-2)").text(0.00123456789)
            '0.00123457'
        """
        if self.choices:
            return str(value)
        return str(int(value)) if self.whole else f"{float(value):.6g}"

    def __str__(self) -> str:
        if self.choices:
            return f"[{', '.join(self.choices)}]"
        names = {kind: name for name, kind in RANGES.items()}
        return f"{names[int if self.whole else float, self.log]}({self.text(self.low)}, {self.text(self.high)})"


def read_dimension(key: str, spec: Any) -> Dimension:
    """Read the range or list of one setting.

    Args:
        key: Dotted key.
        spec: A list, or text such as ``log(1e-4, 1e-2)``.

    Raises:
        MtlError: If it is neither a range nor a list, or is empty.

    Example:
        >>> read_dimension("encoder.width", "[8, 16]").choices, str(read_dimension("data.batch_size", "logint(64,512)"))
        (('8', '16'), 'logint(64, 512)')
    """
    if isinstance(spec, str) and spec.lstrip().startswith("["):
        try:
            check_size(spec, f"space.{key}")
            spec = yaml.safe_load(spec)
        except (ValueError, yaml.YAMLError) as error:
            raise MtlError(f"space.{key}: {spec!r} is not a list", _HINT) from error
    if isinstance(spec, list):
        choices = tuple(dict.fromkeys(value if isinstance(value, str) else json.dumps(value) for value in spec))
        if not choices:
            raise MtlError(f"space.{key}: an empty list", _HINT)
        return Dimension(key, choices)
    call = _CALL.fullmatch(spec.replace(" ", "")) if isinstance(spec, str) else None
    if call is None or call[1] not in RANGES:
        raise MtlError(f"space.{key}: {spec!r} is neither a range nor a list", _HINT)
    kind, log = RANGES[call[1]]
    try:
        low, high = kind(call[2]), kind(call[3])
    except ValueError as error:
        raise MtlError(f"space.{key}: {spec!r}: {error}", _HINT) from error
    if not (math.isfinite(low) and math.isfinite(high)):
        raise MtlError(f"space.{key}: {spec!r} is not finite", _HINT)
    if not low < high or (log and low <= 0):
        raise MtlError(
            f"space.{key}: {spec!r} is empty" if low >= high else f"space.{key}: {spec!r} reaches 0 or below"
        )
    return Dimension(key, low=low, high=high, whole=kind is int, log=log)


def read_space(file: str | None, pairs: Mapping[str, str], tasks: Sequence[str]) -> tuple[Dimension, ...]:
    """Read the space of a study.

    Args:
        file: A YAML file of settings, dotted or nested; ``default`` for the shipped one, as None without pairs.
        pairs: Settings from the command line, which override the file; ``null`` removes a setting.
        tasks: Names of the tasks. ``*`` in a key is replaced by each of them.

    Raises:
        MtlError: If the file can't be read, or a setting is wrong.

    Example:
        >>> [dimension.key for dimension in read_space(None, {"weighter.weights.*": "log(0.1, 10)"}, ["a", "b"])]
        ['weighter.weights.a', 'weighter.weights.b']
    """
    specs: dict[str, Any] = {}
    if file is not None or not pairs:
        specs |= _expanded(_read_file(file or DEFAULT), tasks)
    specs |= _expanded(pairs, tasks)
    space = tuple(read_dimension(key, spec) for key, spec in specs.items() if spec not in (None, "null"))
    if not space:
        raise MtlError("there is nothing to search", "for instance space.optimizer.lr=log(1e-4,1e-2)")
    return space


def _read_file(name: str) -> dict[str, Any]:
    try:
        if name == DEFAULT:
            text = (files("mtl_lightning.tune") / "default.yaml").read_text(encoding="utf-8")
        else:
            text = read_regular(Path(name).expanduser(), MAX_BYTES).decode()
        check_size(text, f"space={name}")
        loaded = yaml.safe_load(text)
    except (OSError, ValueError, RuntimeError, yaml.YAMLError) as error:
        raise MtlError(f"space={name}: {' '.join(str(error).split())}", "a space is a YAML file") from error
    if not isinstance(loaded, dict):
        raise MtlError(f"space={name}: a space is a mapping of settings", _HINT)
    return _flat(loaded, "")


def _flat(nested: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _expanded(specs: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    expanded: dict[str, Any] = {}
    for key, spec in specs.items():
        keys = [key.replace("*", task) for task in tasks] if "*" in key else [key]
        expanded |= dict.fromkeys(keys, spec)
    return expanded
