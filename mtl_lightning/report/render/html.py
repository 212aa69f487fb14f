"""Self-contained HTML pages: no scripts, and no fonts or images from other files."""

from collections.abc import Mapping
from html import escape
from urllib.parse import quote

from mtl_lightning.markup import table

__all__ = ["STYLE", "document", "links", "table"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; font: 13px system-ui, sans-serif; }
svg .title { font-weight: bold; } svg .name { text-anchor: end; } svg .tick { text-anchor: middle; fill: #666; }
line { stroke-width: 2; } rect.bar { fill: #6b93d6; } line.grid { stroke: #e6e6e6; stroke-width: 1; }
svg text.title, svg text.name, svg text.value { fill: currentColor; }
@media (max-width: 40rem) { body { margin: 1rem auto; } table { display: block; overflow-x: auto; } }
@media (prefers-color-scheme: dark) {
  body { background: #16181c; color: #dfe2e6; } a { color: #8ab4f8; } th, td { border-color: #3a3f47; }
  svg .tick { fill: #a0a6ae; } line.grid { stroke: #33383f; }
}
"""


def document(title: str, body: str, style: str = "") -> str:
    """HTML page.

    Args:
        title: Title and first heading.
        body: HTML of the page below the heading.
        style: CSS rules in addition to :data:`STYLE`.

    Example:
        >>> "<h1>A &amp; B</h1>" in document("A & B", "<p>text</p>")
        True
    """
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>
<link rel="icon" href="data:,"><style>{STYLE}{style}</style></head><body>
<h1>{escape(title)}</h1>
{body}
</body></html>
"""


def links(heading: str, pages: Mapping[str, Mapping[str, str]]) -> str:
    """Section with links to other pages, a line per group; empty without any.

    Args:
        heading: Heading of the section.
        pages: Per group, the path of each page relative to this one by the words of its link.

    Example:
        >>> links("Runs", {"mmoe": {"seed 0": "cells/mmoe-seed0/report.html"}})
        '<h2>Runs</h2><p>mmoe: <a href="cells/mmoe-seed0/report.html">seed 0</a></p>'
        >>> links("Runs", {"mmoe": {}})
        ''
    """
    lines = [
        f"<p>{escape(group)}: "
        + ", ".join(f'<a href="{escape(quote(path))}">{escape(words)}</a>' for words, path in paths.items())
        + "</p>"
        for group, paths in pages.items()
        if paths
    ]
    return "".join([f"<h2>{escape(heading)}</h2>", *lines]) if lines else ""
