"""Decisions and CONTRIBUTING: every row is complete, and every file that is named exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "decisions.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| decision |")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_a_decision_is_complete_and_names_its_place(row: list[str]) -> None:
    assert len(row) == 4
    assert all(row)
    (path,) = re.findall(r"`([^`]+)`", row[3])
    assert (ROOT / "mtl_lightning" / path).is_file() or (ROOT / path).is_file()


def test_contributing_links_the_page() -> None:
    assert "(docs/decisions.md)" in (ROOT / "CONTRIBUTING.md").read_text()


def test_files_that_contributing_names_exist() -> None:
    named = re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|yml|txt))`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 10
    places = (ROOT, ROOT / "mtl_lightning")
    assert [path for path in named if not any((place / path).exists() for place in places)] == []


def test_contributing_has_a_place_for_every_part_of_the_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    parts = [path for path in (ROOT / "mtl_lightning").iterdir() if not path.name.startswith(("_", "."))]
    names = [f"{path.name}/" if path.is_dir() else path.name for path in parts if path.suffix in ("", ".py")]
    assert len(names) > 30
    assert [name for name in names if f"`{name}`" not in text] == []
