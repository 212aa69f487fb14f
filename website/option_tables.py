"""Tables of options on the pages of components, generated from constructors and their docstrings.

Run ``python website/option_tables.py`` after a change of options; ``--check`` lists stale pages and exits with 1.
"""

import argparse
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

sys.path.insert(0, str(Path(__file__).parent))

from pages import folder_of

from mtl_lightning.data.features.build import option_name
from mtl_lightning.options import documentation_of, options_of
from mtl_lightning.plugins import KINDS, registry
from mtl_lightning.validation.values import LISTS, MAPPINGS, plain

DOCS = Path(__file__).parents[1] / "docs"
START, END = "<!-- options{} -->", "<!-- /options -->"
ONE_PAGE = {"history": "data/histories.md"}
"""Kinds of features that have a page of their own; the others are on one page."""
NAMES = {int: "integer", float: "number", bool: "true or false", str: "text", type(None): "null", Path: "path"}
PLURALS = ("integer", "number", "column", "feature", "list")
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def component_tables() -> Iterator[tuple[Path, str, type]]:
    """Pages with a table, the marker's suffix (`` name`` on a page with several tables), and their components."""
    for kind in KINDS:
        for name, entry in registry().entries(kind):
            if entry.distribution == "mtl-lightning":
                page = f"{folder_of(kind)}/{entry.name}.md"
                if kind == "feature":
                    page = ONE_PAGE.get(entry.name, "data/features.md")
                shared = kind == "feature" and entry.name not in ONE_PAGE
                yield DOCS / page, f" {entry.name}" * shared, registry().resolve(kind, name)


def type_of(hint: Any) -> str:
    """A type hint as a reader of a recipe needs it, bounds included.

    Example:
        >>> from mtl_lightning.bounds import DropRate, Sizes
        >>> type_of(DropRate), type_of(Sizes), type_of(Literal["mean", "sqrt"] | None)
        ('number ≥ 0, < 1', 'list of integers ≥ 1', '`mean`, `sqrt` or null')
    """
    if isinstance(hint, NewType):
        return {"ColumnName": "column", "FieldName": "feature"}.get(hint.__name__, type_of(hint.__supertype__))
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        bounds = [(SIGNS[name], getattr(marker, name, None)) for marker in arguments[1:] for name in SIGNS]
        limits = ", ".join(f"{sign} {value:g}" for sign, value in bounds if value is not None)
        return f"{type_of(arguments[0])} {limits}".strip()
    if origin in (Union, types.UnionType):
        return _alternatives([type_of(argument) for argument in arguments])
    if origin is Literal:
        return _alternatives([f"`{argument}`" for argument in arguments])
    if origin in (*LISTS, tuple):
        first, *rest = (type_of(arguments[0]) if arguments else "values").split(" ")
        return " ".join(["list of", f"{first}s" if first in PLURALS else first, *rest])
    if origin in MAPPINGS:
        return f"mapping to {type_of(arguments[1])}" if arguments else "mapping"
    return NAMES.get(origin, getattr(origin, "__name__", str(origin)))


def _alternatives(words: list[str]) -> str:
    """Words with commas and an ``or`` before the last; ``or`` alone where one of them holds a comma itself."""
    *first, last = dict.fromkeys(part for word in words for part in (word.split(" or ") if "`" in word else [word]))
    return f"{', '.join(first)} or {last}" if first else last


def default_of(value: Any) -> str:
    """A default as a recipe writes it.

    Example:
        >>> default_of((128, 64)), default_of(None), default_of(True), default_of(1e-8)
        ('`[128, 64]`', '`null`', '`true`', '`1e-08`')
        >>> default_of(("men", "women")), default_of(" ")
        ('`[men, women]`', '`" "`')
    """
    if isinstance(value, bool) or value is None:
        return f"`{'null' if value is None else str(value).lower()}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(str(plain(item)) for item in value)}]`"
    return '`" "`' if value == " " else f"`{plain(value)}`"


def text_of(docstring: str) -> str:
    """Text of a docstring as Markdown in a cell of a table.

    Example:
        >>> text_of("Options of :class:`~mtl_lightning.heads.tower.TowerHead`; ``null`` for none.")
        'Options of `TowerHead`; `null` for none.'
        >>> text_of("None for all.")
        '`null` for all.'
    """
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", docstring)
    return re.sub(r"(?<![`\w])None\b(?!`)", "`null`", text.replace("``", "`").replace("|", "\\|"))


def table(component: type) -> str:
    """The options of a component as a Markdown table; ``None.`` if it has none."""
    options, texts = options_of(component), documentation_of(component)
    if not options:
        return "None."
    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for name in sorted(options, key=list(texts).index):
        option = options[name]
        default = default_of(option.default) if option.has_default else "required" if option.required else ""
        rows.append(f"| `{option_name(name)}` | {type_of(option.hint)} | {default} | {text_of(texts[name])} |")
    return "\n".join(rows)


def refreshed(text: str, component: type, suffix: str = "") -> str:
    """A page with a table as the component's constructor has it now.

    Args:
        text: The page.
        component: The component.
        suffix: What the marker before the table has after ``options``.

    Raises:
        ValueError: If the page has not exactly one such table.
    """
    start = START.format(suffix)
    if text.count(start) != 1 or END not in text.split(start)[1]:
        raise ValueError(f"needs one {start} and one {END}")
    before, rest = text.split(start)
    return f"{before}{start}\n\n{table(component)}\n\n{END}{rest.split(END, 1)[1]}"


def refreshed_pages() -> dict[Path, str]:
    """All pages with tables, refreshed."""
    pages: dict[Path, str] = {}
    for page, suffix, component in component_tables():
        try:
            pages[page] = refreshed(pages.get(page) or page.read_text(), component, suffix)
        except ValueError as error:
            raise ValueError(f"{page}: {error}") from error
    return pages


def main() -> int:
    """Refresh all pages, or list the stale ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a page is stale")
    check = parser.parse_args().check
    stale = [(page, text) for page, text in refreshed_pages().items() if text != page.read_text()]
    for page, text in stale:
        print(page.relative_to(DOCS))
        if not check:
            page.write_text(text)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
