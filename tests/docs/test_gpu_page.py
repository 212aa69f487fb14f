"""The table of docs/gpu.md is what a step costs the host of a device, by the program that makes it."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[2]
MARGIN = 1.1
"""Versions of torch divide operations differently: launches may exceed the table by this factor."""

WAITING = {"aligned_mtl", "imtl_g", "cagrad", "nash_mtl", "fairgrad", "star"}
"""Components that the page names with a reason."""


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("device_traffic", ROOT / "benchmarks" / "device_traffic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_names_every_component_that_waits(program: ModuleType) -> None:
    rows = program.read_table((ROOT / "docs" / "gpu.md").read_text())
    assert {row[:2] for row in rows} <= set(program.components())
    assert {name for _, name, reads, *_ in rows if reads} == WAITING
    page = (ROOT / "docs" / "gpu.md").read_text().split(program.BEGIN)[0]
    assert all(f"`{name}`" in page for name in WAITING)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("sum", "upgrad", "star", "din"), id="some"),
        pytest.param(None, id="all", marks=pytest.mark.slow),
    ],
)
def test_the_table_is_what_a_step_takes(program: ModuleType, names: tuple[str, ...] | None, tmp_path: Path) -> None:
    """A component that is not in the table yet must not wait; write the table again to add it."""
    schema, batches = program.load(str(tmp_path))
    table = {row[:2]: row[2:] for row in program.read_table((ROOT / "docs" / "gpu.md").read_text())}
    for kind, name in program.components():
        if names is None or name in names:
            reads, copies, launches = program.measure(schema, batches, kind, name)[2:]
            listed = table.get((kind, name), (0, 1, launches))
            assert (reads, copies) == listed[:2], name
            assert launches <= MARGIN * listed[2], name


@pytest.mark.slow
def test_the_benchmark_runs_without_a_gpu_and_says_so() -> None:
    command = [sys.executable, "benchmarks/gpu", "--batches", "32", "64", "--steps", "2"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = [line for line in printed.splitlines() if line.startswith("| ") and "contender" not in line]
    assert len(lines) == 8
    assert sum("roofline" in line for line in lines) == 2
    if not torch.cuda.is_available():
        assert "no GPU here" in printed
        assert "these figures say nothing" in printed
