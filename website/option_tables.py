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

from mtl_lightning.options import documentation_of, options_of
from mtl_lightning.plugins import registry
from mtl_lightning.validation.values import LISTS, MAPPINGS, plain

DOCS = Path(__file__).parents[1] / "docs"
KINDS = ("encoder", "architecture", "head", "loss", "weighter", "logger")
"""Kinds of components whose pages have a generated table."""
START, END = "<!-- options -->", "<!-- /options -->"
NAMES = {int: "integer", float: "number", bool: "true or false", str: "text", type(None): "null", Path: "path"}
PLURALS = ("integer", "number", "column", "feature", "list")
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def component_pages() -> Iterator[tuple[Path, type]]:
    """Pages that have a table, with their components."""
    for kind in KINDS:
        for name, entry in registry().entries(kind):
            if entry.distribution == "mtl-lightning":
                yield DOCS / folder_of(kind) / f"{entry.name}.md", registry().resolve(kind, name)


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
    """
    if isinstance(value, bool) or value is None:
        return f"`{'null' if value is None else str(value).lower()}`"
    return f"`{plain(value)}`"


def text_of(docstring: str) -> str:
    """Text of a docstring as Markdown in a cell of a table.

    Example:
        >>> text_of("Options of :class:`~mtl_lightning.heads.tower.TowerHead`; ``null`` for none.")
        'Options of `TowerHead`; `null` for none.'
    """
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", docstring)
    return text.replace("``", "`").replace("|", "\\|")


def table(component: type) -> str:
    """The options of a component as a Markdown table; ``None.`` if it has none."""
    options, texts = options_of(component), documentation_of(component)
    if not options:
        return "None."
    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for name in sorted(options, key=list(texts).index):
        option = options[name]
        default = default_of(option.default) if option.has_default else "required" if option.required else ""
        rows.append(f"| `{name}` | {type_of(option.hint)} | {default} | {text_of(texts[name])} |")
    return "\n".join(rows)


def refreshed(text: str, component: type) -> str:
    """A page with its table as the component's constructor has it now.

    Raises:
        ValueError: If the page has not exactly one pair of markers.
    """
    if text.count(START) != 1 or text.count(END) != 1:
        raise ValueError(f"needs one {START} and one {END}")
    before, rest = text.split(START)
    return f"{before}{START}\n\n{table(component)}\n\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Refresh all pages, or list the stale ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a page is stale")
    check = parser.parse_args().check
    stale = [
        (page, text)
        for page, component in component_pages()
        if (text := refreshed(page.read_text(), component)) != page.read_text()
    ]
    for page, text in stale:
        print(page.relative_to(DOCS))
        if not check:
            page.write_text(text)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
