"""The site: every page has a place, generated pages are complete, links of the repository become links of the site."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command

from mtl_lightning.cli.app import build_app
from mtl_lightning.plugins import KINDS, registry

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> Any:
    """The module with the site's pages and links."""
    sys.path.insert(0, str(ROOT / "website"))
    try:
        import navigation

        return navigation
    finally:
        sys.path.remove(str(ROOT / "website"))


@pytest.fixture(scope="module")
def nav() -> Any:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]


def test_every_page_is_in_the_navigation_once_and_every_entry_is_a_page(site: Any, nav: Any) -> None:
    listed = site.leaves(site.complete(nav))
    pages = [*site.written(), *site.repository_pages().values(), *site.generated()]
    assert sorted(listed) == sorted(pages)


def test_every_page_in_docs_has_been_given_a_place(site: Any, nav: Any) -> None:
    last = site.complete(nav)[-1]
    assert "More" not in last, f"place {last.get('More')} in mkdocs.yml"


def test_the_page_of_commands_has_every_command_argument_and_option(site: Any) -> None:
    text = site.generated()["commands.md"]

    def check(command: Any, path: str) -> None:
        assert f"## `{path}`" in text
        context = typer.Context(command, info_name=path)
        section = text.split(f"## `{path}`\n")[1].split("\n## ")[0].split("\n### ")[0]
        for option in command.get_params(context):
            if option.param_type_name == "option" and option.name != "help":
                assert all(f"`{name}`" in section for name in option.opts), (path, option.opts)
        for name, inner in getattr(command, "commands", {}).items():
            check(inner, f"{path} {name}")

    check(get_command(build_app()), "mtl-lightning")


def test_the_page_of_components_has_every_name_with_its_page(site: Any) -> None:
    text = site.generated()["components.md"]
    own = [
        (kind, entry.name)
        for kind in KINDS
        for _, entry in registry().entries(kind)
        if entry.distribution == "mtl-lightning"
    ]
    assert len(own) > 100
    assert [name for _, name in own if f"`{name}`" not in text] == []
    folders = {"loss": "losses"}
    paged = [pair for pair in own if (ROOT / "docs" / folders.get(pair[0], f"{pair[0]}s") / f"{pair[1]}.md").exists()]
    assert [name for kind, name in paged if f"]({folders.get(kind, f'{kind}s')}/{name}.md)" not in text] == []


@pytest.mark.parametrize(
    ("link", "source", "uri", "expected"),
    [
        ("[a](../CONTRIBUTING.md)", "docs/README.md", "README.md", "[a](project/contributing.md)"),
        ("[a](docs/compare.md#x)", "README.md", "project/overview.md", "[a](../compare.md#x)"),
        ("[a](sources)", "docs/README.md", "README.md", "[a](sources/README.md)"),
        ("[a](../metrics/auc.md)", "docs/heads/binary.md", "heads/binary.md", "[a](../metrics/auc.md)"),
        ("[a](../LICENSE)", "docs/README.md", "README.md", "a"),
        ("[a](https://x.org/y)", "docs/README.md", "README.md", "[a](https://x.org/y)"),
        ("`E[y](1)`", "docs/README.md", "README.md", "`E[y](1)`"),
    ],
)
def test_links(link: str, source: str, uri: str, expected: str, site: Any) -> None:
    assert site.relink(link, source, uri, "") == expected


def test_files_that_are_no_pages_are_linked_in_the_repository_if_its_address_is_known(site: Any) -> None:
    link = site.relink("[a](../LICENSE)", "docs/README.md", "README.md", "https://example.org/mtl/")
    assert link == "[a](https://example.org/mtl/blob/main/LICENSE)"


def test_ci_builds_the_site_and_a_warning_fails_it() -> None:
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text())["strict"] is True
    assert "mkdocs build" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_search_finds_every_component_and_the_first_page_is_the_readme(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-d", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    entries = json.loads((tmp_path / "search" / "search_index.json").read_text())["docs"]
    texts = " ".join(f"{entry['title']} {entry['text']}" for entry in entries)
    names = [entry.name for kind in KINDS for _, entry in registry().entries(kind)]
    assert len(names) > 100
    assert [name for name in names if not re.search(rf"\b{name}\b", texts)] == []
    first = (tmp_path / "index.html").read_text()
    assert "Multi-task learning for recommender systems" in first
    assert "flow.svg" in first
    assert (tmp_path / "pictures" / "flow.svg").exists()
