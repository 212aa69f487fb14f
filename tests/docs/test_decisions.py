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


def test_the_three_looks_lead_to_what_they_name() -> None:
    looks = (ROOT / "CONTRIBUTING.md").read_text().split("## Three looks")[1].split("\n## ")[0]
    named = re.findall(r"`(\w+)` in\s+`([\w/]+\.py)`", looks)
    assert [name for name, _ in named] == ["_RECORDS", "set_up"]
    for name, path in named:
        assert re.search(rf"(?m)^(?:def )?{name}\b", (ROOT / "mtl_lightning" / path).read_text()), (name, path)
    set_up = (ROOT / "mtl_lightning" / "fitting" / "run.py").read_text().split("def set_up(")[1].split("\ndef ")[0]
    steps = "prepare_data( check_data( seed_everything( build_model( warm_start( run_directory( observers("
    places = [set_up.index(step) for step in [*steps.split(), "connect_trainer(", "save_inputs(", "print_header("]]
    assert places == sorted(places)
    assert len((ROOT / "mtl_lightning" / "data" / "__init__.py").read_text().splitlines()) < 20
