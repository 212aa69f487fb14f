"""The module that authors import: it has what they need, and imports little until they need it."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mtl_lightning import interfaces

ROOT = Path(__file__).parents[2]
AUTHORS = sorted(
    [*(ROOT / "mtl_lightning" / "templates").rglob("component.py.tmpl"), *(ROOT / "plugins").glob("*/src/**/*.py")]
)
PUBLIC = {"interfaces", "hookspecs", "testing", "errors", "bounds", "schema", "batch", "plugins"}
HELPERS = {
    "architectures.example": "a tiny schema, encoder and batch for doctests",
    "data.arrow.keys": "how a value is spelled, for the text plugin",
    "data.cache.directory": "where large derived data are kept, for the text plugin",
    "heads.binary": "a parent's head for doctests",
}


@pytest.mark.parametrize("name", interfaces.__all__)
def test_a_name_is_there(name: str) -> None:
    assert getattr(interfaces, name) is not None
    assert name in dir(interfaces)


@pytest.mark.parametrize("name", sorted(interfaces.LAZY))
def test_a_lazy_name_is_the_one_of_its_module(name: str) -> None:
    module, _, original = interfaces.LAZY[name].partition(":")
    assert getattr(interfaces, name) is getattr(import_module(f"mtl_lightning.{module}"), original or name)
    assert name in interfaces.__all__


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"'mtl_lightning\.interfaces' has no attribute 'Nothing'"):
        interfaces.Nothing  # noqa: B018


def test_importing_the_contracts_imports_no_component_and_no_data_code() -> None:
    program = "import sys, mtl_lightning.interfaces; print(*(n for n in sys.modules if n.startswith('mtl_lightning.')))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = ("architectures", "config", "data", "encoders", "heads", "layers", "losses", "training", "weighters")
    assert [name for name in ran.stdout.split() if name.split(".")[1] in heavy] == []


@pytest.mark.parametrize("file", AUTHORS, ids=lambda path: f"{path.parents[2].name}/{path.name}")
def test_authors_import_from_the_interfaces(file: Path) -> None:
    modules = set(re.findall(r"^\s*(?:>>> )?from mtl_lightning\.([\w.]+) import", file.read_text(), re.MULTILINE))
    assert {module for module in modules if module.split(".")[0] not in PUBLIC} <= set(HELPERS)
