"""Tables of a comparison for papers, by hand-written expectations."""

import csv
import io
from typing import Any

import pytest

from mtl_lightning.compare.paper import FORMATS, comma_separated, latex, markdown
from mtl_lightning.compare.plan import TABLES, read_grid
from mtl_lightning.errors import MtlError


def configuration(name: str, auc: float, low: float | None, high: float | None, delta: float | None) -> dict[str, Any]:
    difference = {"mean": None if low is None or high is None else (low + high) / 2, "low": low, "high": high}
    return {
        "name": name, "tuned": False, "seeds": 3, "paired_seeds": 3, "validation_score": {"mean": 0.5, "sd": 0.01},
        "tasks": {
            "click_5%": {"mean": auc, "sd": 0.002, "difference": difference},
            "dwell": {"mean": None, "sd": None, "difference": {"mean": None, "low": None, "high": None}},
        },
        "delta_m": delta, "delta_m_interval": [None, None] if delta is None else [delta - 1, delta + 1],
    }  # fmt: skip


RESULT = {
    "recipe": "ads", "seeds": [0, 1, 2], "confidence": 0.95, "selected": "mmoe-sum",
    "tasks": {"click_5%": {"metric": "auc"}, "dwell": {"metric": "rmse"}},
    "configurations": [
        configuration("single_task", 0.7, 0.0, 0.0, 0.0),
        configuration("mmoe-sum", 0.75, 0.01, 0.09, 2.5),
        configuration("ple|x-sum", 0.65, -0.09, -0.01, None),
    ],
}  # fmt: skip


def test_latex_escapes_names_marks_intervals_and_sets_the_selected_in_bold() -> None:
    lines = latex(RESULT).splitlines()
    assert lines[:5] == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"configuration & click\_5\% (auc) & dwell (rmse) & $\Delta m$ (\%) \\",
        r"\midrule",
        r"single\_task & 0.7000 $\pm$0.0020 & -- & -- \\",
    ]
    assert lines[5] == r"\textbf{mmoe-sum} & 0.7500 $\pm$0.0020$^{\uparrow}$ & -- & +2.50 (+1.50 to +3.50) \\"
    assert lines[6] == r"ple|x-sum & 0.6500 $\pm$0.0020$^{\downarrow}$ & -- & -- \\"
    assert lines[7:9] == [r"\bottomrule", r"\end{tabular}"]
    assert all(line.startswith("% ") for line in lines[9:])


def test_markdown_has_one_cell_for_each_column() -> None:
    lines = markdown(RESULT).splitlines()
    assert lines[0] == "| configuration | click_5% auc | dwell rmse | Δm % |"
    assert lines[1] == "|---|---:|---:|---:|"
    assert lines[3] == "| **mmoe-sum** | 0.7500 ±0.0020 ↑ | – | +2.50 (+1.50 to +3.50) |"
    assert lines[4] == r"| ple\|x-sum | 0.6500 ±0.0020 ↓ | – | – |"


def test_csv_has_numbers_in_full_and_nothing_where_they_are_unknown() -> None:
    rows = list(csv.DictReader(io.StringIO(comma_separated(RESULT))))
    assert [row["configuration"] for row in rows] == ["single_task", "mmoe-sum", "ple|x-sum"]
    assert [row["selected"] for row in rows] == ["0", "1", "0"]
    assert float(rows[1]["click_5%/auc/difference"]) == pytest.approx(0.05)
    assert (rows[1]["click_5%/auc/low"], rows[1]["dwell/rmse/mean"], rows[2]["delta_m"]) == ("0.01", "", "")


def test_formats_are_chosen_by_name() -> None:
    assert set(FORMATS) == set(TABLES)
    assert read_grid(["recipe=ads", "table=csv,latex"]).tables == ("csv", "latex")
    assert read_grid(["recipe=ads"]).tables == ()
    with pytest.raises(MtlError, match="table: no format is called 'tex'"):
        read_grid(["recipe=ads", "table=tex"])
