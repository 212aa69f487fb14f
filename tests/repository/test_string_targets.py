"""Modules that are named in strings: each exists, and none is above the file that names it.

import-linter reads import statements only. A string that is imported later (``importlib``, a preloaded module, a
registry target) could close a circle that it does not see. The rule:

- Every string in the package that is a dotted name ``mtl_lightning.…`` or ``mtl_lightning.…:attribute`` can be
  imported.
- Its layer is not above the layer of the file that contains it, by the layers of import-linter in pyproject.toml.
- Exceptions are the tables of :data:`TABLES`. They import nothing themselves: a module above asks them for a name, and
  could import the target itself. The package's own table of lazy names is above all layers.
"""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtl_lightning
from mtl_lightning.cli.app import PROGRAM
from mtl_lightning.moved import MOVED
from mtl_lightning.plugins import builtin

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mtl_lightning"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGET = re.compile(r"mtl_lightning(\.[A-Za-z_]\w*)+(:[A-Za-z_][\w.]*)?")
TABLES = {
    "plugins/builtin.py": "components by name",
    "plugins/entries.py": "the contract of each kind of component",
}


def layers(container: str) -> dict[str, int]:
    """Module below a container → its height, from the contracts in pyproject.toml."""
    (contract,) = (
        contract
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == [container]
    )
    rows = [re.findall(r"\w+", row) for row in reversed(contract["layers"])]
    return {name: height for height, names in enumerate(rows) for name in names}


PACKAGE_LAYERS, DATA_LAYERS = layers("mtl_lightning"), layers("mtl_lightning.data")


def is_above(target: str, file: str) -> bool:
    """True if a dotted name is in a higher layer than a file of the package."""
    named = target.split(":")[0].split(".")[1:]
    own = file.removesuffix(".py").split("/")
    if own == ["__init__"]:
        return False  # the package itself
    if named[0] != own[0]:
        return PACKAGE_LAYERS[named[0]] > PACKAGE_LAYERS[own[0]]
    if named[0] == "data" and len(named) > 1 and named[1] != own[1] and own[1] != "__init__":
        return DATA_LAYERS[named[1]] > DATA_LAYERS[own[1]]
    return False


def resolve(target: str) -> object:
    """Import what a string names: a module, or an attribute of one."""
    module, _, attribute = target.partition(":")
    if attribute:
        value: object = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
        return value
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        parent, _, name = module.rpartition(".")
        return getattr(importlib.import_module(parent), name)


def targets() -> Iterator[tuple[str, str]]:
    """File and target of every string constant that names a module of the package, or an attribute of one.

    The table of components is written in short (``module:Class`` below a folder), so that its places are read from it.
    """
    for table in vars(builtin).values():
        if isinstance(table, dict):
            for place in table.values():
                if isinstance(place, str) and TARGET.fullmatch(place):
                    yield "plugins/builtin.py", place
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and TARGET.fullmatch(node.value):
                yield path.relative_to(PACKAGE).as_posix(), node.value


FOUND = sorted(set(targets()))


def test_the_collection_sees_the_known_targets() -> None:
    named = {target for _, target in FOUND}
    assert "mtl_lightning.weighters.pcgrad:PCGrad" in named
    assert set(PROGRAM.preload) <= named
    assert {file for file, _ in FOUND} >= set(TABLES)


def test_the_heights_are_those_of_the_linter() -> None:
    assert is_above("mtl_lightning.cli.app", "fitting/launch.py")
    assert is_above("mtl_lightning.__main__", "fitting/launch.py")
    assert is_above("mtl_lightning.fitting.run", "runs/directory.py")
    assert is_above("mtl_lightning.data.preparation.prepare", "data/store/store.py")
    assert not is_above("mtl_lightning.fitting.run", "cli/app.py")
    assert not is_above("mtl_lightning.fitting.run", "fitting/launch.py")


@pytest.mark.parametrize("target", sorted({target for _, target in FOUND}))
def test_every_target_can_be_imported(target: str) -> None:
    assert resolve(target) is not None


def test_no_file_names_a_module_above_it() -> None:
    assert [(file, target) for file, target in FOUND if file not in TABLES and is_above(target, file)] == []


def test_tables_only_name_targets_that_are_imported_on_request() -> None:
    """The exceptions import nothing of the package when they are imported, except for what is below them."""
    for file in TABLES:
        for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mtl_lightning."):
                assert not is_above(str(node.module), file), node.module


@pytest.mark.parametrize("place", sorted({place for places in MOVED.values() for place in places.split()}))
def test_new_places_of_moved_modules_can_be_imported(place: str) -> None:
    assert importlib.import_module(f"mtl_lightning.{place}")


@pytest.mark.parametrize("name", mtl_lightning.__all__)
def test_lazy_names_of_the_package_can_be_imported(name: str) -> None:
    assert getattr(mtl_lightning, name) is not None


def test_entry_points_can_be_imported() -> None:
    project = PROJECT["project"]
    for target in [*project["scripts"].values(), *project["entry-points"]["mtl_lightning"].values()]:
        assert resolve(target) is not None


@pytest.mark.parametrize("template", sorted((PACKAGE / "templates").rglob("*.tmpl")), ids=lambda path: path.name)
def test_templates_name_modules_that_exist(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    for module, names in re.findall(r"^ *(?:>>> )?from (mtl_lightning[\w.]*) import ([\w, ]+)$", text, re.MULTILINE):
        for name in names.split(","):
            assert getattr(importlib.import_module(module), name.strip()) is not None
    if template.name == "pyproject.toml.tmpl":
        (entry_point,) = re.findall(
            r"^\[project\.entry-points\.mtl_lightning\]\n.* = \"\{\{package\}\}\.?(\w*)\"", text, re.M
        )
        places = [template.parent / "src" / "package", PACKAGE / "templates" / "common" / "src" / "package"]
        assert any((place / f"{entry_point or '__init__'}.py.tmpl").is_file() for place in places)
