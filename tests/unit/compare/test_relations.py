"""Relations in a comparison: means over seeds, and a section that shows the selected model first."""

import re

from mtl_lightning.compare.relations import relations_section
from mtl_lightning.report.render.heatmap import colour, heatmap
from mtl_lightning.report.training.relation_plots import average


def run(correlation, cosine, steps=4):
    covariance = [[None if item is None else 2000 * item for item in row] for row in correlation]
    evaluated = {"tasks": ["a", "b"], "rows": [[9, 9], [9, 9]], "correlation": correlation, "covariance": covariance}
    return {
        "pairs": [{"tasks": ["a", "b"], "cosine": cosine, "conflicting": 0.5, "steps": steps}],
        "labels": {"validation": evaluated},
        "predictions": {"validation": {}, "test": evaluated},
        "affinity": {"tasks": ["a", "b"], "relative": [[1.0, cosine], [None, 1.0]]},
        "gates": {"test": {"a": {"mean": [0.2, 0.8], "evenness": 0.7}, "scale": {"mean": [3.0]}}},
    }


def test_numbers_are_averaged_over_the_seeds_that_have_them():
    first, second = run([[1.0, 0.2], [0.2, None]], -0.4), run([[1.0, 0.4], [0.4, 1.0]], 0.0, steps=0)
    second["gates"]["test"]["a"]["mean"] = [0.4, 0.6]
    result = average([first, {}, second])
    assert result["labels"]["correlation"] == [[1.0, 0.30000000000000004], [0.30000000000000004, 1.0]]
    assert result["labels"]["covariance"] == [[2000.0, 600.0], [600.0, 2000.0]]
    assert result["predictions"]["correlation"] == result["labels"]["correlation"]
    assert result["gradients"]["cosine"] == [[1.0, -0.4], [-0.4, 1.0]]
    assert result["gradients"]["conflicting"] == [[None, 0.5], [0.5, None]]
    assert result["affinity"]["relative"] == [[1.0, -0.2], [None, 1.0]]
    assert [round(weight, 9) for weight in result["gates"]["a"]["mean"]] == [0.3, 0.7]
    assert average([]) == average([{}]) == {}


def test_the_section_opens_the_selected_configuration_and_escapes_names():
    relations = average([run([[1.0, 0.2], [0.2, 1.0]], -0.4)])
    names = ["mmoe-sum", "ple-<b>"]
    result = {
        "configurations": [{"name": name, "tuned": False, "relations": relations} for name in names],
        "selected": "ple-<b>",
    }
    html = relations_section(result)
    assert re.findall("<details( open)?><summary>(.*?)</summary>", html) == [
        (" open", "ple-&lt;b&gt;"),
        ("", "mmoe-sum"),
    ]
    assert html.count("<svg") == 1 + 2 * 5
    assert html.count("<td>2,000</td><td>400</td>") == 1 + 2  # covariances of labels, and of predictions
    assert "<script" not in html
    assert relations_section({"configurations": [{"name": "mmoe-sum"}], "selected": None}) == ""


def test_a_heatmap_shows_every_value_and_marks_what_is_unknown():
    picture = heatmap("<title>", ["a&b", "c"], ["x" * 200, "y"], [[1.0, -0.25], [None, 7.5]])
    assert picture.count("<rect") == 4
    assert all(shown in picture for shown in (">1.00<", ">−0.25<", ">–<", ">7.50<", "a&amp;b", "&lt;title&gt;"))
    assert "x" * 200 not in re.sub("<title>.*?</title>", "", picture)
    assert colour(7.5) == colour(1.0)
    assert colour(-1.0, least=0.0) == colour(0.0)
