"""Snippets of the pages about exporting and serving run, one page after the other and in one directory."""

import re
from pathlib import Path

from snippets import run_snippet

from mtl_lightning.cli.serve import OPTIONS

ROOT = Path(__file__).parents[2]


def test_snippets_run(tmp_path: Path) -> None:
    text = "".join(
        (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in ("export", "serving", "fleet")
    )
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for language, code in blocks:
        printed = run_snippet(language, code, tmp_path)
        if "/score" in code:
            assert '"score":[' in printed
        if "/infer" in code:
            assert '"name":"score","datatype":"FP64","shape":[1],"data":[' in printed
            assert '"status":200' in printed
    assert (tmp_path / "scores.parquet").is_file()


def test_the_page_names_every_argument() -> None:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    assert [name for name in OPTIONS if f"`{name}`" not in text] == []
