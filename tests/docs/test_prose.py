"""Language of docstrings, comments, messages and pages: no banned expressions, no sentence of more than 40 words."""

from pathlib import Path

import prose
import pytest

ROOT = Path(__file__).parents[2]
ROOTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs",
    "recipes",
    "mtl_lightning",
    "tests",
    "benchmarks",
    "plugins",
    "website",
)
WRONG = (Path(__file__).relative_to(ROOT),)
"""Files that contain broken rules on purpose."""
PENDING: tuple[str, ...] = ()
"""Folders and files that still break the rules, to be shortened only: one that is clean has to leave this list."""


def files(place: Path) -> list[Path]:
    """A file itself, or the files with prose in a folder."""
    if place.is_file():
        return [place]
    suffixes = (".py", ".md", ".yaml")
    return sorted(path for path in place.rglob("*") if prose.kind(path) in suffixes and path.suffixes[0] != ".zh-CN")


def problems(path: Path) -> list[str]:
    """Problems of a file, without advice."""
    return [str(problem) for problem in prose.problems(path) if not problem.advice]


def pending(path: Path) -> bool:
    """True for a file in a place that still breaks the rules."""
    return any(path == ROOT / place or path.is_relative_to(ROOT / place) for place in PENDING)


CHECKED = {
    path: None
    for place in ROOTS
    for path in files(ROOT / place)
    if not pending(path) and path.relative_to(ROOT) not in WRONG
}


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_written_plainly(path: Path) -> None:
    assert problems(path) == []


@pytest.mark.parametrize("place", PENDING)
def test_a_pending_place_still_has_problems(place: str) -> None:
    assert [problem for path in files(ROOT / place) for problem in problems(path)] != []


def test_the_rules_see_what_they_should(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\nWhat is told here stands beside it.\n\n" + "word " * 41 + "end.\n")
    assert len(problems(page)) == 4
    page.write_text("# Page\n\nA plain sentence.\n\n```text\ntold beside\n```\n")
    assert problems(page) == []
    module = tmp_path / "module.py"
    module.write_text('"""How it works."""\nfound = 1  # beside\n')
    assert len(problems(module)) == 3
