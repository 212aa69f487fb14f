"""The tables of weighters have a row for every weighter of core."""

from pathlib import Path

import pytest

from mtl_lightning.plugins.builtin import WEIGHTERS

PAGE = Path(__file__).parents[2] / "docs" / "weighters" / "README.md"


def rows(name):
    """Cells by weighter of the table at a place of the page."""
    table = PAGE.read_text().partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    return {first.strip("`"): rest for first, *rest in cells}


@pytest.mark.parametrize("name", ["weighters", "weighters_auc"])
def test_every_weighter_has_a_row(name):
    assert sorted(rows(name)) == sorted(WEIGHTERS)
