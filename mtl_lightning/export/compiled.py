"""AOTInductor packages: the graph compiled to native code for the machine that exports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from mtl_lightning.errors import MtlError
from mtl_lightning.export.graph import PREDICTION, quiet_torch

PACKAGE = "model.aoti.pt2"
"""File of the package in an export."""


def compile_package(program: torch.export.ExportedProgram, path: Path) -> None:
    """Compile a program, which still has its example inputs, with the C++ compiler of this machine.

    Args:
        program: The program; see :func:`mtl_lightning.export.graph.trace`.
        path: File to write.

    Raises:
        MtlError: If there is no compiler, or the program can't be compiled.
    """
    try:
        with quiet_torch():
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    except Exception as error:  # the errors of compilers have no common base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MtlError(
            f"compiled: the graph can't be compiled: {reason}", "install g++, or leave compiled= out"
        ) from error


@dataclass(frozen=True)
class CompiledGraph:
    """A package that this process has compiled, with the interface of a session of onnxruntime.

    A package is native code. Never load one from elsewhere.

    Args:
        model: The loaded package.
        names: Names of its inputs, in order.

    Example:
        ``CompiledGraph.load(Path("model.aoti.pt2"), ["ids", "dense"]).run(None, parts)``
    """

    model: Any
    names: Sequence[str]

    @classmethod
    def load(cls, path: Path, names: Sequence[str]) -> "CompiledGraph":
        """Load a package of this machine."""
        return cls(torch._inductor.aoti_load_package(str(path)), names)

    def get_inputs(self) -> list[SimpleNamespace]:
        """Inputs with their names."""
        return [SimpleNamespace(name=name) for name in self.names]

    def run(self, outputs: Sequence[str] | None, parts: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Predictions of the outputs, ``prediction/<task>``, or of all tasks for None."""
        with torch.inference_mode():
            values = self.model({name: torch.from_numpy(np.ascontiguousarray(parts[name])) for name in self.names})
        tasks = list(values) if outputs is None else [name.removeprefix(PREDICTION) for name in outputs]
        return [values[task].numpy() for task in tasks]
