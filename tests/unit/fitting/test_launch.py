"""Commands in processes of their own: output, exit codes, and how they start further processes."""

import sys
from pathlib import Path

import launched
import pytest

from mtl_lightning.cli.app import PROGRAM, main
from mtl_lightning.fitting.launch import Program, start


@pytest.mark.parametrize(("arguments", "code"), [(["fit", "recipe=ads"], 0), (["fail"], 3)])
def test_a_command_runs_as_the_module_of_its_function(tmp_path: Path, arguments: list[str], code: int) -> None:
    log = tmp_path / "log"
    process = start(Program(launched.main), arguments, log, threads=1)
    process.join(200)
    assert process.exitcode == code
    assert log.read_text() == f"{[sys.executable, '-m', 'launched', *arguments]}\n"


def test_the_command_line_of_the_package_can_be_run_by_its_module() -> None:
    assert PROGRAM.main is main
    module = sys.modules[main.__module__]
    assert "__main__" in Path(str(module.__file__)).read_text(encoding="utf-8")
