"""Pictures: each is small, made by the program and shown on a page with a text; no page names one that is missing."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = sorted(path for path in (ROOT / "docs" / "pictures").iterdir())
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SHOWN = [
    pytest.param(page, text, link, id=f"{page.relative_to(ROOT)} {link}")
    for page in PAGES
    for text, link in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
]


def test_there_are_pictures() -> None:
    assert len(PICTURES) >= 5
    assert len(SHOWN) >= 5


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_small_shown_and_made_by_the_program(picture: Path) -> None:
    assert picture.stat().st_size < 150_000
    assert any((parameters[0].parent / parameters[2]).resolve() == picture for parameters in (s.values for s in SHOWN))
    program = ast.parse((ROOT / "benchmarks" / "pictures.py").read_text())
    constants = {node.value for node in ast.walk(program) if isinstance(node, ast.Constant)}
    assert picture.name in constants


@pytest.mark.parametrize(("page", "text", "link"), SHOWN)
def test_a_picture_that_a_page_shows_is_there_and_described(page: Path, text: str, link: str) -> None:
    assert (page.parent / link).is_file()
    assert len(text) > 20


def test_no_picture_is_kept_elsewhere() -> None:
    suffixes = {".png", ".svg", ".jpg", ".gif", ".webp"}
    others = [path for path in (ROOT / "docs").rglob("*") if path.suffix in suffixes and path not in PICTURES]
    assert others == []
