"""Pages of the site in their order, and links of the repository as links of the site."""

import functools
import posixpath
import re
from pathlib import Path
from typing import Any

import pages

ROOT = Path(__file__).parents[1]
DOCS = "docs"


def repository_pages() -> dict[str, str]:
    """Pages outside ``docs`` that the site shows, by their path in the repository."""
    shown = {
        "README.md": "project/overview.md",
        "README.zh-CN.md": "project/overview.zh-CN.md",
        "CONTRIBUTING.md": "project/contributing.md",
        "CHANGELOG.md": "project/changelog.md",
        "SECURITY.md": "project/security.md",
    }
    plugins = sorted(ROOT.glob("plugins/*/README.md"))
    results = sorted(ROOT.glob("benchmarks/results/*.md"), key=lambda path: (path.name != "README.md", path.name))
    return (
        {path: uri for path, uri in shown.items() if (ROOT / path).exists()}
        | {str(path.relative_to(ROOT)): f"plugins/{path.parent.name}.md" for path in plugins}
        | {str(path.relative_to(ROOT)): f"results/{path.name}" for path in results}
    )


def written() -> list[str]:
    """Pages in ``docs``, each folder's README first."""
    pages_in_docs = [path.relative_to(ROOT / DOCS).as_posix() for path in (ROOT / DOCS).rglob("*.md")]
    return sorted(pages_in_docs, key=lambda uri: (posixpath.dirname(uri), posixpath.basename(uri) != "README.md", uri))


@functools.cache
def generated() -> dict[str, str]:
    """Pages that are made from the package."""
    return {"components.md": pages.components(set(written())), "commands.md": pages.commands(), **pages.api()}


def expand(nav: Any, known: list[str]) -> Any:
    """The navigation with ``folder/`` replaced by the pages of that folder that no other entry names.

    An entry without a page is left out. A page that it misspells then has no place, and a test fails.
    """
    named = set(leaves(nav))

    def inner(item: Any) -> list[Any]:
        if isinstance(item, dict):
            entries = {title: inner_value(value) for title, value in item.items()}
            return [{title: value} for title, value in entries.items() if value]
        if isinstance(item, str) and item.endswith("/"):
            return [uri for uri in known if posixpath.dirname(uri) == item[:-1] and uri not in named]
        return [item] if item in known else []

    def inner_value(value: Any) -> Any:
        if isinstance(value, list):
            return [entry for item in value for entry in inner(item)]
        uris = inner(value)
        return uris if value.endswith("/") else "".join(uris)

    return inner_value(nav)


def leaves(nav: Any) -> list[str]:
    """All pages that a navigation names."""
    if isinstance(nav, str):
        return [nav]
    return [leaf for item in (nav.values() if isinstance(nav, dict) else nav) for leaf in leaves(item)]


def complete(nav: Any) -> Any:
    """The navigation with every page in it: folders expanded, and pages without a place at the end."""
    known = [*written(), *repository_pages().values(), *generated()]
    expanded = expand(nav, known)
    left = [uri for uri in known if uri not in set(leaves(expanded))]
    return [*expanded, {"More": left}] if left else expanded


def relink(markdown: str, source: str, uri: str, repository: str) -> str:
    """Links of a page of the repository as links of the site.

    A file that is not a page of the site is linked in the repository; without a configured address it is only named.

    Args:
        markdown: The page.
        source: Its path in the repository.
        uri: Its path on the site.
        repository: Address of the repository; may be empty.
    """

    def change(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if (ROOT / path).is_dir() and (ROOT / path / "README.md").exists():
            path = f"{path}/README.md"
        if not (ROOT / path).exists():
            return match[0]
        site = repository_pages().get(path) or (path.removeprefix(f"{DOCS}/") if path.startswith(f"{DOCS}/") else None)
        if site is not None:
            return f"[{text}]({posixpath.relpath(site, posixpath.dirname(uri) or '.')}{anchor or ''})"
        return f"[{text}]({repository.rstrip('/')}/blob/main/{path})" if repository else text

    return re.sub(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)", change, markdown)
