"""docs/command_line.md: its snippets run, and it says what each kind in the cache is."""

import re
from pathlib import Path

from snippets import run_snippet

from mtl_lightning.data.cache.inventory import LAYOUTS

PAGE = Path(__file__).parents[2] / "docs" / "command_line.md"


def test_snippets_run(tmp_path: Path) -> None:
    snippets = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    printed = [run_snippet("sh", code, tmp_path) for code in snippets]
    assert len(printed) == 2
    assert '"ok": true' in printed[0]
    assert printed[1].count("nothing to remove") == 2


def test_every_kind_of_entry_is_in_the_table_of_caches() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Caches")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert {kind for row in rows for kind in re.findall("`([a-z]+)`", row.split("|")[1])} == set(LAYOUTS)
