"""Every registered component has a page that names its options, and links between pages lead somewhere."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from mtl_lightning.plugins import registry
from mtl_lightning.plugins.names import KINDS
from mtl_lightning.validation.binding import options_of

ROOT = Path(__file__).parents[2]
# Kinds of features are on one page, docs/data/features.md, which has a test of its own.
COMPONENTS = [(kind, name) for kind in KINDS if kind != "feature" for name in registry().names(kind)]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=[f"{kind} {name}" for kind, name in COMPONENTS])
def test_a_component_has_a_page_that_names_its_options(kind, name):
    page = ROOT / "docs" / {"loss": "losses"}.get(kind, f"{kind}s") / f"{name}.md"
    assert page.is_file(), f"write {page.relative_to(ROOT)}"
    text = page.read_text()
    options = options_of(registry().resolve(kind, name))
    assert [option for option in options if f"`{option}`" not in text and f"`{option}:" not in text] == []


METHODS = ("encoder", "architecture", "head", "loss", "weighter")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, name in COMPONENTS if kind in METHODS])
def test_a_method_says_when_it_helps_and_when_not_what_it_costs_and_where_it_comes_from(kind, name):
    text = (ROOT / "docs" / {"loss": "losses"}.get(kind, f"{kind}s") / f"{name}.md").read_text()
    parts = dict(re.findall(r"^## (.+)\n+((?:(?!## ).*\n)*)", text, re.MULTILINE))
    wanted = ("When it helps", "When not", "Cost", "Options", "Source")
    assert [part for part in wanted if not parts.get(part, "").strip()] == []


@pytest.fixture(scope="module")
def tables() -> Any:
    """The program that writes tables of options."""
    sys.path.insert(0, str(ROOT / "website"))
    try:
        import option_tables

        return option_tables
    finally:
        sys.path.remove(str(ROOT / "website"))


def test_tables_of_options_are_those_of_the_constructors(tables: Any) -> None:
    pages = tables.refreshed_pages()
    assert len(list(tables.component_tables())) == len(COMPONENTS) + len(registry().names("feature")) > 120
    stale = [page.name for page, text in pages.items() if text != page.read_text()]
    assert stale == [], "run python website/option_tables.py"


def test_options_are_listed_in_tables_only() -> None:
    listed = {
        f"{page.parent.name}/{page.name}": re.findall(r"^- `\w+` \(.*?\):", page.read_text(), re.MULTILINE)
        for kind in ("metrics", "sources")
        for page in (ROOT / "docs" / kind).glob("*.md")
    }
    assert {page: lines for page, lines in listed.items() if lines} == {}


def test_a_changed_option_changes_the_page(tables: Any) -> None:
    class Component:
        """A component.

        Args:
            width: Width of a layer, ``null`` for none.
        """

        def __init__(self, *, width: int | None = None) -> None: ...

    page = tables.refreshed("Before.\n\n<!-- options -->\n\nold\n\n<!-- /options -->\n\nAfter.\n", Component)
    assert "\n| `width` | integer or null | `null` | Width of a layer, `null` for none. |\n\n<!-- /options -->" in page
    assert "old" not in page
    assert (page.startswith("Before.\n\n<!--"), page.endswith("-->\n\nAfter.\n")) == (True, True)
    with pytest.raises(ValueError, match="needs one <!-- options -->"):
        tables.refreshed("No table.\n", Component)
    pair = "<!-- options a -->\n<!-- /options -->\n\n<!-- options b -->\n<!-- /options -->\n"
    page = tables.refreshed(pair, Component, " b")
    assert page.startswith("<!-- options a -->\n<!-- /options -->\n\n<!-- options b -->\n\n| option")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("kind", ["source", "metric", "architecture", "head", "loss"])
def test_overviews_list_every_component(kind):
    overview = (ROOT / "docs" / {"loss": "losses"}.get(kind, f"{kind}s") / "README.md").read_text()
    assert [name for name in registry().names(kind) if f"({name}.md)" not in overview] == []


@pytest.mark.parametrize("kind", ["architecture", "head", "loss"])
def test_overviews_ask_the_questions_of_the_pages(kind):
    folder = ROOT / "docs" / {"loss": "losses"}.get(kind, f"{kind}s")
    overview = (folder / "README.md").read_text()
    questions = {
        name: match[1]
        for name in registry().names(kind)
        if (match := re.search(r"^\*\*(.+?)\*\*", (folder / f"{name}.md").read_text(), re.MULTILINE))
    }
    assert len(questions) == len(registry().names(kind))
    assert [
        name for name, question in questions.items() if f"[`{name}`]({name}.md) | {question} |" not in overview
    ] == []
