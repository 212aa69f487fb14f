"""Every hook is on the page about plugins and has a test; so has every contract and every switch."""

import inspect
import re
from pathlib import Path

import pytest

from mtl_lightning import hookspecs, interfaces, testing
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


@pytest.mark.parametrize(
    "contract",
    [
        interfaces.Encoder,
        interfaces.Architecture,
        interfaces.Head,
        interfaces.Loss,
        interfaces.Weighter,
        interfaces.TaskMetric,
        interfaces.Source,
        interfaces.Feature,
    ],
)
def test_optional_parts_of_a_contract_are_documented(contract: type) -> None:
    section = PAGE.split("## Optional parts of the contracts")[1].split("\n## ")[0]
    rows = section.split(f"| `{contract.__name__}` |")[1]
    own = rows[: match.start()] if (match := re.search(r"^\| `\w+` \|", rows, re.MULTILINE)) else rows
    optional = [
        name
        for name, value in vars(contract).items()
        if not name.startswith("_") and not getattr(value, "__isabstractmethod__", False)
    ]
    assert [name for name in optional if f"`{name}`" not in own] == []


def test_base_classes_on_the_page_are_in_the_interfaces() -> None:
    section = PAGE.split("## What to import")[1].split("\n## Optional")[0]
    names = set(re.findall(r"`([A-Z][a-z]\w+)", section)) - {"Any", "Unpack", "TypedDict"}
    assert len(names) > 15
    assert names - set(interfaces.__all__) == set()


def test_the_page_names_this_version_of_the_hooks() -> None:
    assert f"MTL_API = {MTL_API}" in PAGE
    assert MTL_API == hookspecs.MTL_API


def test_code_on_the_page_is_that_of_the_template() -> None:
    template = ROOT / "plugins" / "mtl-lightning-template"
    text = "".join(path.read_text() for path in (*template.rglob("plugin.py"), *template.rglob("test_*.py")))
    blocks = PAGE.split("```python\n")[1:]
    lines = [line for block in blocks for line in block.split("```")[0].splitlines() if line.strip()]
    assert [line for line in lines if line not in text and not line.startswith("def mtl_weighters")] == []
