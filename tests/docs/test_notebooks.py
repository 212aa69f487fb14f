"""Notebooks: stored without outputs, linked, and executed as a reader would."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHOWN = {
    "own_data": (
        "<strong>Run mine, test score",
        "<strong>3 fields, 2 tasks",
        "<td>architecture</td><td>MMoE</td>",
        "importance.json",
    ),
    "does_sharing_help": ("<strong>Comparison of ads", "<td>mmoe-sum</td><td>2</td>"),
    "paper_to_plugin": ("<td>weighter</td><td>RandomWeights</td>", "mtl-lightning-random/pyproject.toml"),
}
"""Parts of what a notebook shows."""


def cells(path: Path) -> list[dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    return content["cells"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs_and_is_linked_and_its_links_lead_somewhere(path: Path) -> None:
    for cell in cells(path):
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        for link in re.findall(r"\]\((\.\./[^)#]+)", "".join(cell["source"])):
            assert (path.parent / link).is_file(), link
    assert f"(../notebooks/{path.name})" in (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    assert path.stem in SHOWN


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    data = [output.get("data", {}) for output in outputs]
    shown = "".join(part.get("text/html") or part.get("text/plain", "") for part in data)
    shown += "".join(output.get("text", "") for output in outputs)
    assert [part for part in SHOWN[path.stem] if part not in shown] == []
    assert "<progress" not in shown  # the bar of a training is removed at its end
    assert not [output for output in outputs if output.output_type == "error"]
