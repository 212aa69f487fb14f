"""A finished comparison, for notebooks and programs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mtl_lightning.errors import MtlError
from mtl_lightning.markup import fragment, table
from mtl_lightning.report.render.tables import number
from mtl_lightning.structure import read_json

RESULT = "result.json"
"""File with the result, in the directory of a comparison."""
LARGEST = 1 << 30
"""Most bytes of this file."""


@dataclass(frozen=True)
class Comparison:
    """Result of the command ``compare``; a notebook shows its verdict and a table.

    Args:
        directory: Directory of the comparison.
        result: Content of :data:`RESULT`.

    Example:
        ``Comparison.open("runs/compare/ads").result["verdict"]["use"]``
    """

    directory: Path
    result: Mapping[str, Any]

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Self:
        """Read a comparison.

        Args:
            directory: Directory of the comparison (``out=`` of ``compare``).

        Raises:
            MtlError: If it has no result, or a damaged one.
        """
        path = Path(directory) / RESULT
        if not path.is_file():
            raise MtlError(
                f"{directory} has no {RESULT}", "compare writes it: mtl-lightning compare … out=" + str(directory)
            )
        result = read_json(path, LARGEST)
        if not isinstance(result, dict) or not isinstance(result.get("configurations"), list):
            raise MtlError(f"{path} is not the result of a comparison", "run compare again")
        return cls(Path(directory), result)

    def _repr_html_(self) -> str:
        """Verdict, and a row per configuration with its differences from single-task models."""
        tasks = self.result["tasks"]
        rows = []
        for configuration in self.result["configurations"]:
            row = [configuration["name"], str(configuration["seeds"])]
            for task in tasks:
                facts = configuration["tasks"][task]
                ends = facts["difference"]
                mean = "undefined" if facts["mean"] is None else number(facts["mean"])
                low, high = ends["low"], ends["high"]
                row.append(mean if low is None or high is None else f"{mean} ({low:+.4f} to {high:+.4f})")
            rows.append(row)
        verdict = self.result["verdict"] or {"sentences": ["The comparison has not finished."]}
        headings = ["configuration", "seeds", *(f"{task} {facts['metric']}" for task, facts in tasks.items())]
        return fragment(f"Comparison of {self.result['recipe']}", table(headings, rows), notes=[*verdict["sentences"]])
