"""Every hook is on the page about plugins and has a test; so has every contract and every switch."""

import inspect
from pathlib import Path

import pytest

from mtl_lightning import hookspecs, testing
from mtl_lightning.plugins.builtin import MTL_API
from mtl_lightning.plugins.entries import HOOKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text()
TESTS = (ROOT / "tests" / "unit" / "plugins" / "test_plugins.py").read_text()
NAMES = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("mtl_")]


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_is_documented_and_tested(name: str) -> None:
    arguments = list(inspect.signature(getattr(hookspecs, name)).parameters)
    assert f"`{name}{'(' + ', '.join(arguments) + ')' if arguments else ''}`" in PAGE
    assert inspect.getdoc(getattr(hookspecs, name))
    assert name in TESTS or name in HOOKS.values()


@pytest.mark.parametrize("contract", testing.CONTRACTS.values())
def test_a_contract_is_documented(contract: type) -> None:
    assert f"`{contract.__name__}`" in PAGE


def test_the_page_names_this_version_of_the_hooks() -> None:
    assert f"MTL_API = {MTL_API}" in PAGE
    assert MTL_API == hookspecs.MTL_API


def test_code_on_the_page_is_that_of_the_template() -> None:
    template = ROOT / "plugins" / "mtl-lightning-template"
    text = "".join(path.read_text() for path in (*template.rglob("plugin.py"), *template.rglob("test_*.py")))
    blocks = PAGE.split("```python\n")[1:]
    lines = [line for block in blocks for line in block.split("```")[0].splitlines() if line.strip()]
    assert [line for line in lines if line not in text and not line.startswith("def mtl_weighters")] == []
