"""The table of costs has a row for every weighter of core."""

from pathlib import Path

from mtl_lightning.builtin import WEIGHTERS

PAGE = Path(__file__).parents[2] / "docs" / "weighters" / "README.md"


def test_every_weighter_has_a_row_with_figures():
    rows = {line.split("|")[1].strip().strip("`"): line for line in PAGE.read_text().splitlines() if "| ×" in line}
    assert sorted(rows) == sorted(WEIGHTERS)
