"""The modules that the package and its help import, and lists that commands show without importing their owners."""

import os
import subprocess
import sys

import pytest

from mtl_lightning.cli.commands import CACHED
from mtl_lightning.cli.completion import SUPPLIED, TEMPLATES
from mtl_lightning.data.cache.inventory import LAYOUTS

HELP = """
__init__ __main__ errors hookspecs printable ranks recipes
cli cli.allocation cli.app cli.commands cli.completion cli.json_output
fitting fitting.launch fitting.memory
plugins plugins.builtin plugins.checks plugins.entries plugins.loader plugins.names
"""
"""Modules of the package that help imports."""
SLOW = "asyncio concurrent datasets filelock lightning multiprocessing numpy optuna pandas pyarrow torch yaml"
"""Modules that help must not import."""


def imported(statement: str, *arguments: str) -> set[str]:
    """Modules that a statement imports in a new process."""
    program = (
        f"import sys\nbefore = set(sys.modules)\ntry:\n    {statement}\n"
        "finally:\n    print(*(set(sys.modules) - before), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    environment = os.environ | {"MTL_PLUGINS": "core"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_the_package_imports_no_other_module() -> None:
    others = {name for name in imported("import mtl_lightning") if name.split(".")[0] not in ("importlib", "warnings")}
    assert others == {"mtl_lightning"}


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["data", "clean", "--help"]])
def test_help_imports_no_command(arguments: list[str]) -> None:
    modules = imported("import mtl_lightning.__main__\n    mtl_lightning.__main__.main()", *arguments)
    own = {name.partition(".")[2] or "__init__" for name in modules if name.split(".")[0] == "mtl_lightning"}
    assert own == set(HELP.split())
    assert {name.split(".")[0] for name in modules} & set(SLOW.split()) == set()


def test_lists_in_help_are_complete() -> None:
    assert tuple(LAYOUTS) == CACHED
    assert set(TEMPLATES) <= set(SUPPLIED)
    assert len(TEMPLATES) > 8
