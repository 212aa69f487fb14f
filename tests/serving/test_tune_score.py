"""`tune score` on a real run: what it writes, what export makes of it, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import command

from mtl_lightning.cli.tune_score import _test
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.schema import Schema, Task
from mtl_lightning.tune.fusion import Ranked

pytestmark = pytest.mark.xdist_group("serving")


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, which other tests do not see."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_the_formula_is_found_on_validation_and_judged_on_test(own: Path, tmp_path: Path) -> None:
    assert command("tune", "score", f"run={own}", "objective=ndcg", "gain=click + 5 * conversion", "trials=10") == 0
    record = json.loads((own / "score.json").read_text())
    values = [candidate["value"] for candidate in record["candidates"][1:]]
    assert values == sorted(values, reverse=True)
    assert len(values) == 11
    assert record["candidates"][0]["text"] == "p_click + p_conversion"
    low = record["test"]["difference"]["low"]
    assert record["formula"] == (record["best"] if low is not None and low > 0 else "p_click + p_conversion")
    page = (own / "score.html").read_text()
    assert page.count("<svg") == 1
    assert "GAUC of conversion" in page
    (own / "score.json").write_text(json.dumps({**record, "formula": "p_click ^ 0.5 * p_conversion"}))
    assert command("export", f"run={own}", f"out={tmp_path / 'export'}", "calibrate=false") == 0
    assert Bundle.open(tmp_path / "export").manifest.score == "p_click ^ 0.5 * p_conversion"


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["objective=auc"], "one of ndcg, gauc, revenue"),
        (["gain=click * bid"], "the run has no label or column 'bid'"),
        (["gain=click >"], "is not an expression"),
        (["gain=0 * click"], "ndcg is undefined"),
        (["k=0"], "k"),
        (["gian=click"], "did you mean 'gain'"),
    ],
)
def test_what_cannot_be_tuned(own: Path, capsys: pytest.CaptureFixture[str], pairs: list[str], expected: str) -> None:
    assert command("tune", "score", f"run={own}", *pairs) == 2
    assert expected in capsys.readouterr().err
    assert not (own / "score.json").exists()


def test_rows_of_another_log_are_refused(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("tune", "score", f"run={own}", "source.rows=2000", "trials=1") == 2
    assert "was trained on other data" in " ".join(capsys.readouterr().err.split())
    assert not (own / "score.json").exists()


def test_a_test_split_without_gains_decides_nothing() -> None:
    schema = Schema((), (Task(name="click", kind="binary", label="click"),))
    rows = Ranked({"click": np.array([0.2, 0.4])}, np.zeros(2), np.zeros(2, dtype=np.int64))
    record = _test(rows, schema, "p_click ^ 2", "p_click", "ndcg", 10)
    assert record == {"default": None, "best": None, "difference": {"mean": None, "low": None, "high": None}}


def test_a_damaged_score_file_is_named(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "score.json").write_text("{}")
    assert command("export", f"run={own}", f"out={tmp_path / 'export'}", "calibrate=false") == 2
    assert "score.json has no formula" in " ".join(capsys.readouterr().err.split())
