"""Every registered component has a page that names its options, and links between pages lead somewhere."""

import re
from pathlib import Path

import pytest

from mtl_lightning.plugins import registry
from mtl_lightning.plugins.names import KINDS
from mtl_lightning.validation.binding import options_of

ROOT = Path(__file__).parents[2]
# Kinds of features stand on one page, docs/data/features.md, which has a test of its own.
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


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("kind", ["source", "metric", "architecture", "head", "loss"])
def test_overviews_list_every_component(kind):
    overview = (ROOT / "docs" / {"loss": "losses"}.get(kind, f"{kind}s") / "README.md").read_text()
    assert [name for name in registry().names(kind) if f"({name}.md)" not in overview] == []
