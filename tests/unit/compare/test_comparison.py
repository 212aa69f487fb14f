"""A finished comparison: read, shown in a notebook, and refused if it is damaged."""

import json
from pathlib import Path

import pytest

from mtl_lightning import Comparison
from mtl_lightning.errors import MtlError

ENDS = {"mean": 0.01, "low": 0.002, "high": 0.018}
NONE = dict.fromkeys(ENDS)
RESULT = {
    "recipe": "a & b",
    "tasks": {"click": {"metric": "auc"}},
    "configurations": [
        {"name": "single_task", "seeds": 2, "tasks": {"click": {"mean": 0.7, "difference": NONE}}},
        {"name": "<b>-sum", "seeds": 2, "tasks": {"click": {"mean": 0.71, "difference": ENDS}}},
        {"name": "empty", "seeds": 1, "tasks": {"click": {"mean": None, "difference": NONE}}},
    ],
    "verdict": {"sentences": ["Use <b>-sum."]},
}


def test_a_notebook_shows_the_verdict_and_the_differences(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    html = Comparison.open(tmp_path)._repr_html_()
    assert html.startswith("<div><strong>Comparison of a &amp; b</strong><p>Use &lt;b&gt;-sum.</p><table>")
    assert "<td>single_task</td><td>2</td><td>0.7000</td>" in html
    assert "<td>&lt;b&gt;-sum</td><td>2</td><td>0.7100 (+0.0020 to +0.0180)</td>" in html
    assert "<td>empty</td><td>1</td><td>undefined</td>" in html


def test_without_a_verdict_the_comparison_has_not_finished(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "verdict": None}))
    assert "<p>The comparison has not finished.</p>" in Comparison.open(str(tmp_path))._repr_html_()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "has no result.json"), ("[]", "is not the result"), ("{}", "is not")]
)
def test_what_is_not_a_comparison_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(MtlError, match=message):
        Comparison.open(tmp_path)
