"""Groups of tasks: the best partitions, the runs that try them, and what is said about their cost."""

import itertools
import json

import pytest
from commands import run_command
from hypothesis import given
from hypothesis import strategies as st

from mtl_lightning.cli.compare import compare
from mtl_lightning.compare.grouping import (
    group_cells,
    grouping_of,
    grouping_section,
    grouping_sentences,
    joint_run,
    partitions,
)
from mtl_lightning.compare.plan import read_grid
from mtl_lightning.errors import MtlError
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.metrics import add_relations, add_test

TASKS = ["like", "save", "hide"]
RELATIVE = [[1.0, 0.2, -0.1], [0.3, 1.0, None], [0.0, -0.1, 1.0]]


def every_partition(items):
    """All partitions, by placing each item in a group that exists or in a new one."""
    if not items:
        yield []
        return
    for parts in every_partition(items[1:]):
        yield [[items[0]], *parts]
        for i, part in enumerate(parts):
            yield [*parts[:i], [items[0], *part], *parts[i + 1 :]]


@given(
    st.integers(3, 6).flatmap(
        lambda n: st.lists(st.lists(st.floats(-1, 1), min_size=n, max_size=n), min_size=n, max_size=n)
    )
)
def test_partitions_are_the_best_of_all(affinity):
    def gain(groups):
        return sum(affinity[i][j] for group in groups for i, j in itertools.permutations(group, 2))

    count = len(affinity)
    best = partitions(affinity, 4)
    assert [len(groups) for groups in best] == list(range(2, min(4, count - 1) + 1))
    for groups in best:
        assert sorted(itertools.chain(*groups)) == list(range(count))
        rivals = [gain(parts) for parts in every_partition(list(range(count))) if len(parts) == len(groups)]
        assert gain(groups) == pytest.approx(max(rivals), abs=1e-9)


def finish(grid, cell, relations=None):
    """Write the records of a finished run."""
    cell.path(grid.out).mkdir(parents=True)
    run = RunDirectory(cell.path(grid.out))
    add_test(run, {}, "best.ckpt", complete=True)
    add_relations(run, relations or {})
    run.save_json("resources.json", {"steps": 100, "step_ms": 10.0})


@pytest.fixture
def grid(tmp_path):
    arguments = ["recipe=conflict", "grouping=auto", "architecture=shared_bottom", "weighter=sum", "seeds=4,5"]
    return read_grid([*arguments, "constants=0", f"out={tmp_path / 'out'}"])


def test_groups_are_known_after_the_joint_run_and_tried_with_all_seeds(grid):
    (joint,) = joint_run(grid, TASKS)
    assert joint.name == "affinity-seed4"
    assert group_cells(grid, TASKS) == []
    assert grouping_of(grid, TASKS) is None
    finish(grid, joint, {"affinity": {"tasks": TASKS, "relative": RELATIVE, "samples": 20}})
    first, second = group_cells(grid, TASKS)
    assert (first.name, second.name) == ("groups2-sum-seed4", "groups2-sum-seed5")
    assert first.pairs[2:] == (
        "architecture.groups.like=0",
        "architecture.groups.save=0",
        "architecture.groups.hide=1",
    )
    finish(grid, first)
    grouping = grouping_of(grid, TASKS)
    assert grouping["candidates"] == {"groups2-sum": [["like", "save"], ["hide"]]}
    # 100 steps each of 10 ms, and 20 samples of three tasks.
    assert (grouping["runs"], grouping["seconds"], grouping["seconds_of_affinities"]) == (2, pytest.approx(2.6), 1.6)
    assert "about 3 seconds of training, 2 of them" in grouping_sentences({"grouping": grouping})[-1]
    section = grouping_section({"grouping": {**grouping, "candidates": {"groups2-sum": [["a<b"], ["c"]]}}})
    assert "{a&lt;b}, {c}" in section
    assert section.count("<svg") == 1
    assert (grouping_sentences({}), grouping_section({"grouping": None})) == ([], "")


def test_commands_are_those_of_the_joint_run_and_then_of_the_groups(grid, capsys):
    pairs = ["recipe=conflict", "grouping=auto", "architecture=shared_bottom", "weighter=sum", "seeds=4,5"]
    pairs += ["constants=0", f"out={grid.out}"]

    def printed():
        compare(pairs, None, print_commands=True, only_gather=False, as_json=True)
        return [line.split("cells/")[1] for line in json.loads(capsys.readouterr().out)["commands"]]

    others = [f"{name}-seed{seed}" for seed in (4, 5) for name in ("single_task", "shared_bottom-sum")]
    assert printed() == ["affinity-seed4", *others]
    finish(grid, *joint_run(grid, TASKS), {"affinity": {"tasks": TASKS, "relative": RELATIVE, "samples": 20}})
    assert printed() == [*others, "groups2-sum-seed4", "groups2-sum-seed5"]


def test_what_cannot_be_searched_is_refused(grid):
    with pytest.raises(MtlError, match="2 tasks, and 3 to 12 can be searched"):
        joint_run(grid, ["a", "b"])
    with pytest.raises(MtlError, match="wrong value grouping=best"):
        read_grid(["recipe=conflict", "grouping=best"])
    finish(grid, *joint_run(grid, TASKS))
    with pytest.raises(MtlError, match="affinity-seed4 took no sample"):
        group_cells(grid, TASKS)
    assert joint_run(read_grid(["recipe=conflict"]), ["a", "b"]) == []


@pytest.mark.slow
def test_a_comparison_trains_and_judges_its_groups(tmp_path):
    settings = ["recipe=conflict", "source.rows=4000", "trainer.max_epochs=1", "data.batch_size=128", "seeds=1"]
    done = run_command(
        tmp_path, "compare", *settings, "grouping=auto", "architecture=shared_bottom", "weighter=sum", "constants=0",
        "confirm=0", "out=result",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 runs, 0 finished" in done.stdout
    assert "groups of tasks from affinities: 1 more runs" in done.stdout
    result = json.loads((tmp_path / "result" / "result.json").read_text())
    assert [part["name"] for part in result["configurations"]] == ["single_task", "shared_bottom-sum", "groups2-sum"]
    assert result["grouping"]["runs"] == 2
    assert "Search for groups" in done.stdout


def test_a_search_without_affinities_ends_before_the_other_runs(grid, monkeypatch):
    trained = []

    def launch(grid, cells, report, program):
        trained.extend(cell.name for cell in cells)
        for cell in cells:
            finish(grid, cell)
        return []

    monkeypatch.setattr("mtl_lightning.compare.launch.launch", launch)
    monkeypatch.setattr("mtl_lightning.cli.compare._prepare", lambda *_: None)
    pairs = ["recipe=conflict", "grouping=auto", "architecture=shared_bottom", "weighter=sum", "seeds=4,5"]
    pairs += ["constants=0", f"out={grid.out}"]
    with pytest.raises(MtlError, match="affinity-seed4 took no sample"):
        compare(pairs, None, print_commands=False, only_gather=False, as_json=True)
    assert trained == ["affinity-seed4"]
