"""HTML of tables, for pages and for notebooks."""

from collections.abc import Sequence
from html import escape
from itertools import zip_longest


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    """HTML table of texts; ``kinds`` are the classes of its rows, empty for none.

    Example:
        >>> table(["task", "rate"], [["<b>", "0.2"]])
        '<table><thead><tr><th>task</th><th>rate</th></tr></thead><tbody><tr><td>&lt;b&gt;</td><td>0.2</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = ""
    for row, kind in zip_longest(rows, kinds, fillvalue=""):
        body += f'<tr class="{kind}">' if kind else "<tr>"
        body += "".join(f"<td>{escape(value)}</td>" for value in row) + "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def fragment(title: str, *tables: str, notes: Sequence[str] = ()) -> str:
    """HTML that a notebook shows for an object, in the notebook's own colours.

    Args:
        title: Heading.
        tables: HTML below it.
        notes: Sentences between the heading and the tables.

    Example:
        >>> fragment("A & B", notes=["one"])
        '<div><strong>A &amp; B</strong><p>one</p></div>'
    """
    paragraphs = [f"<p>{escape(note)}</p>" for note in notes]
    return "".join([f"<div><strong>{escape(title)}</strong>", *paragraphs, *tables, "</div>"])
