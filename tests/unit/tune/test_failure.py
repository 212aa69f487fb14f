"""A failed trial says why; a space or a comparison that can only fail is refused before anything runs."""

import json
from pathlib import Path

import pytest
from commands import command

from mtl_lightning.compare.plan import cells, read_grid
from mtl_lightning.errors import MtlError
from mtl_lightning.tune.failure import failure_reason
from mtl_lightning.tune.plan import read_plan

SMALL = (
    "recipe=ads", "source.rows=600", "encoder.width=2", "architecture=shared_bottom", "architecture.hidden=[2]",
    "data.batch_size=128", "trainer.max_epochs=1", "trainer.accelerator=cpu",
)  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (2, "recipe ads\nerror: tasks.click: no rows (look)\n", "tasks.click: no rows (look)"),
        (1, "error: earlier\ntraining failed: loss is NaN\nSaved in x\n", "loss is NaN"),
        (1, "Traceback:\n  File\ntorch.OutOfMemoryError: no memory\nbye\n", "torch.OutOfMemoryError: no memory"),
        (7, "nothing\n", "exit code 7"),
        (7, None, "exit code 7"),
        (-15, "error: x\n", "SIGTERM"),
        (0, "error: x\n", "the validation score was never defined"),
    ],
)  # fmt: skip
def test_the_last_reason_of_a_log(code: int, text: str | None, reason: str, tmp_path: Path) -> None:
    log = tmp_path / "0000.log"
    if text is not None:
        log.write_text(text)
    assert failure_reason(code, log) == reason


def test_a_study_of_failing_trials_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    # The loss of so large a rate is not finite, and training ends after the first such step.
    pairs = ("optimizer.name=sgd", "run.skip_nonfinite=1", "space.optimizer.lr=[1e30,1e31]", "trials=2", "jobs=1")
    assert command("tune", *SMALL, *pairs, "trainer.max_epochs=4", "out=study") == 1
    printed = " ".join(capsys.readouterr().out.split())
    trials = json.loads(Path("study/result.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["fail", "fail"]
    for trial in trials:
        assert "finite" in trial["reason"]
        assert f": {trial['reason']} (study/logs/{trial['number']:04d}.log)" in printed
        assert trial["reason"].split("'")[0][:30] in Path("study/report.html").read_text()


@pytest.mark.parametrize("space", ["space.weighter.weights.absent=[1,2]", "space.weighter.weights.clik=log(0.1,10)"])
def test_weights_of_no_task_are_refused_up_front(space: str) -> None:
    with pytest.raises(MtlError, match=r"weighter\.weights: no task '(absent|clik)'"):
        read_plan([*SMALL, "weighter=constant", space]).check()


def test_a_study_without_validation_rows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("tune", *SMALL, "split={by: random, validation: 0}", "space.optimizer.lr=[1e-3,1e-2]") == 2
    assert "tune needs a validation split" in capsys.readouterr().err


def test_nothing_is_gathered_where_nothing_has_finished(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compare", *SMALL[:2], "architecture=mmoe", "out=new", "--gather") == 2
    assert "no run of the comparison has finished in new (run it first, without --gather)" in capsys.readouterr().err
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("pair", "names"),
    [
        ("architecture=mmoe,mtl-lightning/mmoe", ("mmoe",)),
        ("architecture=mtl-lightning/mmoe,ple,mmoe", ("mmoe", "ple")),
        ("architecture=mtl-lightning/single_task,mmoe", ("mmoe",)),
    ],
)
def test_a_component_is_compared_once_by_whatever_name(pair: str, names: tuple[str, ...]) -> None:
    grid = read_grid(["recipe=ads", pair, "weighter=sum,mtl-lightning/sum", "seeds=1", "constants=0"])
    assert (grid.architectures, grid.weighters) == (names, ("sum",))
    assert [cell.configuration for cell in cells(grid, ["a", "b"])] == [
        "single_task",
        *(f"{name}-sum" for name in names),
    ]
