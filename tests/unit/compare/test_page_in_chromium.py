"""The pages of ``compare`` and ``tune`` in a browser: nothing on the console, and every plot has a size."""

import pytest

from mtl_lightning.compare.page import page as comparison
from mtl_lightning.tune.page import page as study
from tests.support.browser import CHROMIUM, open_page


def configuration(name, difference):
    spread = {"mean": 0.7, "sd": 0.01}
    tasks = {task: {**spread, "difference": difference} for task in ("click", "<dwell> & more")}
    cost = {"parameters": 1000, "step_ms": 3.2, "samples_per_second": 1e5, "peak_memory_mb": 500.0}
    return {
        "name": name, "settings": [], "tuned": False, "seeds": 3, "paired_seeds": 3, "validation_score": spread,
        "tasks": tasks, "delta_m": 0.5, "delta_m_interval": [-0.1, 1.1], **cost,
    }  # fmt: skip


COMPARISON = {
    "recipe": "ads",
    "overrides": [],
    "seeds": [0, 1, 2],
    "tasks": {
        "click": {"kind": "binary", "metric": "auc", "rows": 900, "positive": 90},
        "<dwell> & more": {"kind": "regression", "metric": "rmse", "rows": 90, "positive": None},
    },
    "confidence": 0.95,
    "configurations": [
        configuration("single_task", {"mean": 0.0, "low": 0.0, "high": 0.0}),
        configuration("mmoe-sum", {"mean": 0.02, "low": 0.01, "high": 0.03}),
        configuration("mmoe-famo", {"mean": -0.02, "low": -0.03, "high": 0.01}),
    ],
    "tuned": None,
    "missing": [],
    "selected": "mmoe-sum",
    "verdict": {"tasks": {"click": "gain"}, "use": "mmoe-sum", "sentences": ["click gains.", "Use mmoe-sum."]},
}
PAIR = {
    "tasks": ["click", "<dwell> & more"],
    "correlation": [[1.0, 0.2], [0.2, None]],
    "covariance": [[0.1, 9.0], [9.0, None]],
}
RELATIONS = {
    "labels": PAIR,
    "predictions": PAIR,
    "gradients": {"tasks": PAIR["tasks"], "cosine": [[1.0, -0.3], [-0.3, 1.0]], "conflicting": [[None, 0.9]] * 2},
    "affinity": {"tasks": PAIR["tasks"], "relative": [[1.0, -0.2], [3.4, 1.0]]},
    "gates": {name: {"mean": [0.5, 0.2, 0.3], "evenness": 0.9} for name in PAIR["tasks"]},
}
RELATED = {
    **COMPARISON,
    "configurations": [{**item, "relations": RELATIONS} for item in COMPARISON["configurations"]],
}
STUDY = {
    "recipe": "ads",
    "tasks": {"click": {"metric": "auc", "higher": True}, "dwell": {"metric": "r2", "higher": True}},
    "trials": [
        {
            "number": i, "state": "complete", "score": 0.6 + i / 100, "settings": ["optimizer.lr=0.1"],
            "params": {"optimizer.lr": 0.1}, "tasks": {"click": 0.7 + i / 100, "dwell": 0.4 - i / 50},
        }
        for i in range(3)
    ],
    "front": [0, 1, 2],
    "best": 2,
}  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize(
    ("html", "seen"),
    # Relations: the labels, and five matrices for each of three configurations, also where they are folded away; tables
    # of covariances next to them.
    [(comparison(COMPARISON), "2 6 6"), (comparison(RELATED), "6 22 6"), (study(STUDY), "1 1 3")],
    ids=["comparison", "relations", "study"],
)
def test_a_page_opens_without_errors_and_shows_its_plots(html, seen, tmp_path):
    document, messages = open_page(html, tmp_path)
    assert f'data-seen="{seen}"' in document
    assert messages == []
