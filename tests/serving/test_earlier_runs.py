"""A run and an export made before modules were moved: they are evaluated, continued and scored as ever."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import command

FIXTURE = Path(__file__).parents[1] / "fixtures" / "first_layout"


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, the export and their log, in the working directory."""
    folder = tmp_path / "earlier"
    shutil.copytree(FIXTURE, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("model", ["run", "export"])
def test_predicts_the_scores_of_then(earlier: Path, model: str) -> None:
    assert command("predict", f"run={model}", "data=log.csv", "out=scores.parquet") == 0
    expected = json.loads((earlier / "scores.json").read_text())
    predicted = pq.read_table("scores.parquet").to_pydict()
    for task, scores in expected.items():
        np.testing.assert_allclose(predicted[task], scores, atol=1e-5)


def test_evaluates_as_then(earlier: Path) -> None:
    before = json.loads((earlier / "run" / "metrics.json").read_text())["test"]
    assert command("test", "run=run") == 0
    after = json.loads((earlier / "run" / "metrics.json").read_text())["test"]
    assert after["metrics"] == pytest.approx(before["metrics"], abs=1e-5)


def test_continues(earlier: Path) -> None:
    assert command("fit", "resume=run", "trainer.max_epochs=3") == 0
    assert len(json.loads((earlier / "run" / "metrics.json").read_text())["validations"]) == 3
