"""Snippets of the pages about exporting and serving run, one page after the other and in one directory."""

import os
import re
import subprocess
import sys
from pathlib import Path

from mtl_lightning.cli.serve import OPTIONS

ROOT = Path(__file__).parents[2]


def test_snippets_run(tmp_path: Path) -> None:
    text = "".join(
        (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in ("export", "serving", "fleet")
    )
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MTL_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    for language, code in blocks:
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        if "/score" in code:
            assert '"score":[' in done.stdout
        if "/infer" in code:
            assert '"name":"score","datatype":"FP64","shape":[1],"data":[' in done.stdout
            assert '"status":200' in done.stdout
    assert (tmp_path / "scores.parquet").is_file()


def test_the_page_names_every_argument() -> None:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    assert [name for name in OPTIONS if f"`{name}`" not in text] == []
