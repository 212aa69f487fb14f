"""The command ``compare``: its grid, that it continues, and what it leaves."""

import json
import os
import re
import subprocess
from html.parser import HTMLParser
from statistics import fmean

import pytest
from commands import run_command
from hypothesis import given
from hypothesis import strategies as st

from mtl_lightning.compare.plan import cells, constant_weights, read_grid
from mtl_lightning.compare.plots import forest
from mtl_lightning.errors import MtlError
from mtl_lightning.report.render.svg import bars, ticks

SMALL = ("recipe=ads", "source.rows=2000", "trainer.max_epochs=1", "encoder.width=4", "data.batch_size=512")
GRID = ("architecture=shared_bottom,single_task", "weighter=sum", "seeds=1", "constants=1", "confirm=1")


def run(folder, *arguments):
    return run_command(folder, "compare", *arguments)


class Tags(HTMLParser):
    """Tags that are open, and the attributes of all."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.seen = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_recipes_own_configuration_is_compared_unless_others_are_named(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: ads\narchitecture: {name: cgc, own_experts: 1}\nweighter: pcgrad\n")
    grid = read_grid([f"recipe={recipe}"])
    assert (grid.architectures, grid.weighters) == (("cgc", "shared_bottom"), ("pcgrad", "sum"))
    assert read_grid([f"recipe={recipe}", "weighter=mgda"]).weighters == ("mgda",)
    plain = read_grid(["recipe=base"])
    assert (plain.architectures, plain.weighters) == (("shared_bottom", "mmoe"), ("sum", "famo"))


def test_a_grid_always_holds_single_task_models_and_constant_weights():
    grid = read_grid(["recipe=ads", "architecture=mmoe,ple", "weighter=sum,famo", "seeds=2"])
    names = {cell.configuration for cell in cells(grid, ["click", "dwell"])}
    expected = {"single_task", "mmoe-sum", "mmoe-famo", "ple-sum", "ple-famo"}
    assert names == expected | {f"mmoe-constant{i}" for i in range(1, 6)}
    every = [cell.name for cell in cells(grid, ["click", "dwell"])]
    assert len(set(every)) == len(every) == 20


def test_constant_settings_differ_and_do_not_change_between_calls():
    tasks = ["a", "b", "c"]
    settings = constant_weights(tasks, 5)
    assert settings == constant_weights(tasks, 5)
    assert len({tuple(setting.values()) for setting in settings}) == 5
    assert all(sum(setting.values()) == pytest.approx(3) for setting in settings)
    assert constant_weights(["a", "b"], 1) == [{"a": 1.0, "b": 1.0}]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "needs recipe="),
        (["recipe=ads", "seeds=0"], "seeds=0"),
        (["recipe=ads", "seeds=many"], "seeds=many"),
        (["recipe=ads", "jobs=0"], "jobs=0"),
        (["recipe=ads", "seed=3"], "not accept seed="),
        (["recipe=ads", "architecture=single_task"], "multi-task architecture"),
        (["recipe=ads", "run.test=false"], "not accept run.test="),
        (["recipe=ads", "seeds=4294967294,4294967295"], "below 2"),
        (["recipe=ads", "seeds=5000"], "at most 1000"),
    ],
)
def test_wrong_arguments_are_named(pairs, message):
    with pytest.raises(MtlError, match=message):
        read_grid(pairs)


def test_seeds_are_how_many_or_which():
    assert read_grid(["recipe=ads", "seeds=2"]).seeds == (0, 1)
    assert read_grid(["recipe=ads", "seeds=7,5"]).seeds == (7, 5)


def test_plots_leave_out_what_is_not_known_and_escape_names():
    drawn = forest("a < b", [("x & y", None, None, None), ("z", -0.2, -0.3, -0.1), ("one seed", 0.1, None, None)])
    assert drawn.count("<circle") == 2
    assert drawn.count('<line class="loss"') == 1
    assert "−0.200 (−0.300 to −0.100)" in drawn
    assert "a &lt; b" in drawn
    assert "x &amp; y" in drawn
    assert bars("t", [("a", None)], "ms").count("<rect") == 0


def test_one_wide_interval_does_not_squeeze_the_others():
    names = ["chosen", "wide", "narrow"]
    intervals = [("chosen", 0.01, -0.02, 0.04), ("wide", 0.02, -5.0, 6.0), ("narrow", -0.01, -0.03, 0.01)]
    drawn = forest("auc", intervals, "chosen")
    lengths = [
        float(b) - float(a) for a, b in re.findall(r'class="even" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', drawn)
    ]
    assert len(lengths) == len(names)
    assert min(lengths) > 30  # of 320; 1 if the widest decided
    assert drawn.count("<path") == 2  # the wide one's arrows
    assert forest("auc", intervals, "wide").count("<path") == 0


@given(st.floats(-100, 100), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_lie_between_the_ends(shift, width):
    low, high = shift * width, (shift + 1) * width
    result = ticks(low, high)
    assert 1 <= len(result) <= 5
    assert all(low - 1e-6 * width <= tick <= high + 1e-6 * width for tick in result)
    assert len(ticks(0.0, width)) >= 2


@pytest.mark.timeout(900)
def test_a_comparison_gathers_goes_on_and_answers(tmp_path):
    printed = run(tmp_path, *SMALL, *GRID, "out=result", "--print")
    assert printed.returncode == 0, printed.stderr
    commands = printed.stdout.splitlines()
    assert [re.search(r"cells/(\S+)", line)[1] for line in commands] == [
        "single_task-seed0",
        "shared_bottom-sum-seed0",
        "shared_bottom-constant1-seed0",
    ]
    environment = {**os.environ, "MTL_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    subprocess.run(["sh", "-c", commands[1]], cwd=tmp_path, env=environment, check=True, capture_output=True)

    partly = run(tmp_path, *SMALL, *GRID, "out=result", "--gather")
    assert partly.returncode == 0, partly.stderr
    assert "No verdict yet" in partly.stdout
    assert "2 runs are missing: single_task-seed0, shared_bottom-constant1-seed0" in " ".join(partly.stdout.split())
    assert not (tmp_path / "result" / "cells" / "single_task-seed0").exists()

    done = run(tmp_path, *SMALL, *GRID, "out=result", "table=latex,markdown,csv", "plots=svg")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 runs, 1 finished" in done.stdout
    result = json.loads((tmp_path / "result" / "result.json").read_text())
    assert result["missing"] == []
    assert f"{result['selected']} is best on validation: 2 more runs" in done.stdout
    seeds = {item["name"]: item["seeds"] for item in result["configurations"]}
    assert [name for name, count in seeds.items() if count == 2] == ["single_task", result["selected"]]
    assert result["selected"] in ("shared_bottom-sum", "shared_bottom-constant1")
    assert set(result["verdict"]["tasks"]) == {"click", "conversion", "dwell"}
    assert "single_task" in {item["name"] for item in result["configurations"]}
    for configuration in result["configurations"]:
        paths = [
            tmp_path / "result" / "cells" / f"{configuration['name']}-seed{seed}"
            for seed in range(configuration["seeds"])
        ]
        tests = [json.loads((path / "metrics.json").read_text())["test"] for path in paths]
        assert all(test["evaluations"] == 1 for test in tests)
        logged = {
            name: fmean(test["metrics"][f"test/{name}"] for test in tests) for name in ("click/auc", "dwell/rmse")
        }
        # The logged AUC is a histogram's: rows of nearly equal scores share a bin after so little training.
        assert configuration["tasks"]["click"]["mean"] == pytest.approx(logged["click/auc"], abs=5e-3)
        assert configuration["tasks"]["dwell"]["mean"] == pytest.approx(logged["dwell/rmse"], rel=1e-4)
        assert configuration["parameters"] > 0
    for table in ("table.tex", "table.md", "table.csv"):
        text = (tmp_path / "result" / table).read_text()
        assert all(name.split("-")[0].replace("_", "") in text.replace("\\_", "").replace("_", "") for name in seeds)
    page = Tags()
    page.feed((tmp_path / "result" / "report.html").read_text())
    assert page.open == []
    # Δm, three tasks, three costs, the reliability of two; labels, and of three models predictions, cosines, conflicts.
    assert page.seen.count("svg") == 7 + 2 + 1 + 3 * 3
    assert "script" not in page.seen
    runs = {f"cells/{name}-seed{seed}/report.html" for name, count in seeds.items() for seed in range(count)}
    assert {value for name, value in page.attributes if name in ("src", "href")} == {"data:,"} | runs
    assert all((tmp_path / "result" / path).is_file() for path in runs)
    plots = ("advantage", "learning_curves", "front1", "front2", "front3", "ranks")
    assert all((tmp_path / "result" / f"{name}.svg").is_file() for name in plots)

    again = run(tmp_path, *SMALL, *GRID, "out=result")
    assert "3 runs, 3 finished" in again.stdout
    assert "more runs" not in again.stdout
    assert json.loads((tmp_path / "result" / "result.json").read_text()) == result
    other = run(tmp_path, *SMALL[:-1], *GRID, "out=result")
    assert other.returncode == 2
    assert "another overrides" in other.stderr


def test_constant_weights_that_are_asked_for_are_no_tuned_ones():
    grid = read_grid(["recipe=ads", "architecture=mmoe", "weighter=constant", "seeds=1", "constants=2"])
    result = {cell.configuration: cell.tried for cell in cells(grid, ["click", "dwell"])}
    assert result == {"single_task": False, "mmoe-constant": False, "mmoe-constant1": True, "mmoe-constant2": True}


def test_what_rules_out_a_verdict_is_said_before_anything_runs(tmp_path):
    for split in ("test", "validation"):
        done = run(tmp_path, *SMALL, *GRID, f"split.{split}=0", f"out={split}")
        assert done.returncode == 2
        assert f"compare needs a {split} split" in done.stderr
        assert not (tmp_path / split / "cells").exists()
    both = run(tmp_path, *SMALL, *GRID, "out=both", "--print", "--gather")
    assert (both.returncode, "exclude each other" in both.stderr) == (2, True)
    (tmp_path / "file").write_text("")
    done = run(tmp_path, *SMALL, *GRID, "out=file")
    assert (done.returncode, "out=file: can't be written" in done.stderr) == (2, True)


def test_another_content_of_the_recipe_is_another_comparison(tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text("extends: ads\noptimizer: {lr: 0.001}\n")
    assert run(tmp_path, "recipe=own.yaml", *GRID, "out=result", "--print").returncode == 0
    assert run(tmp_path, "recipe=own.yaml", *GRID, "out=result", "--print").returncode == 0
    recipe.write_text("extends: ads\noptimizer: {lr: 0.1}\n")
    done = run(tmp_path, "recipe=own.yaml", *GRID, "out=result", "--print")
    assert done.returncode == 2
    assert "another content of the recipe" in done.stderr


def test_a_wrong_method_is_said_before_anything_runs(tmp_path):
    done = run(tmp_path, *SMALL, "architecture=shared_botom", "out=result")
    assert done.returncode == 2
    assert "did you mean" in done.stderr
    assert not (tmp_path / "result").exists()


def test_one_task_is_no_question_of_transfer(tmp_path):
    done = run(
        tmp_path, "recipe=ads", "tasks.conversion=null", "tasks.dwell=null", "heads.conversion=null", "out=result"
    )
    assert done.returncode == 2
    assert "ads has one task: there is nothing to train together" in done.stderr
    assert not (tmp_path / "result").exists()
