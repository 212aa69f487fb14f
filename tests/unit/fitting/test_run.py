"""The steps of a run: called from one short function, and nothing is written before they have succeeded."""

import ast
import inspect
import signal
from pathlib import Path
from typing import Any

import pytest

from mtl_lightning.errors import MtlError
from mtl_lightning.fitting import run as conductor
from mtl_lightning.fitting import steps
from mtl_lightning.fitting.plan import plan_run
from mtl_lightning.fitting.run import fit_run, set_up
from mtl_lightning.printable import Console
from mtl_lightning.runs.interrupts import Signals

SMALL = ("source.rows=600", "trainer.accelerator=cpu", "trainer.max_steps=2", "data.batch_size=64")
LINES = 40
"""Most lines of the function that runs from ``fit`` to the first step."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "fitting-cache"))
    return tmp_path


def plan(*pairs: str, resume: str | None = None) -> Any:
    return plan_run(None if resume else "ads", pairs if resume else [*SMALL, *pairs], resume, Console(quiet=True))


def test_everything_before_the_first_step_is_one_short_function(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []

    def spy(module: Any, name: str) -> None:
        original = getattr(module, name)

        def step(*arguments: Any, **options: Any) -> Any:
            calls.append((inspect.stack()[1].function, name))
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, step)

    for name in ("prepare_data", "check_data", "build_model", "observers", "connect_trainer", "save_inputs"):
        spy(conductor, name)
    for name in ("train", "evaluate"):
        spy(steps, name)
    fit_run(plan(), Signals(), Console(quiet=True))
    assert calls == [
        ("set_up", "prepare_data"),
        ("set_up", "check_data"),
        ("set_up", "build_model"),
        ("set_up", "observers"),
        ("set_up", "connect_trainer"),
        ("set_up", "save_inputs"),
        ("train", "train"),
        ("evaluate", "evaluate"),
    ]
    (function,) = (
        node
        for node in ast.parse(inspect.getsource(conductor)).body
        if isinstance(node, ast.FunctionDef) and node.name == "set_up"
    )
    assert function.end_lineno is not None
    assert function.end_lineno - function.body[1].lineno < LINES  # after the docstring


@pytest.mark.parametrize("directory", ["mine/first", None])
def test_nothing_is_left_behind_if_the_trainer_is_refused(folder: Path, directory: str | None) -> None:
    wrong = plan("trainer.devices=1000", *([f"run.dir={directory}"] if directory else []))
    wrong.config.trainer["precision"] = "nonsense"
    with pytest.raises(MtlError, match="trainer: "), set_up(wrong, Signals(), Console(quiet=True)):
        pass
    assert list(folder.iterdir()) == []


def test_an_empty_directory_of_the_users_is_kept(folder: Path) -> None:
    (folder / "mine").mkdir()
    wrong = plan("run.dir=mine")
    wrong.config.trainer["precision"] = "nonsense"
    with pytest.raises(MtlError, match="trainer: "), set_up(wrong, Signals(), Console(quiet=True)):
        pass
    assert list(folder.iterdir()) == [folder / "mine"]
    assert list((folder / "mine").iterdir()) == []


def test_the_directory_is_in_use_until_the_block_ends() -> None:
    with set_up(plan("run.dir=mine"), Signals(), Console(quiet=True)) as run:
        run.train()
        again = plan(resume="mine")
        with pytest.raises(MtlError, match="mine is in use"), set_up(again, Signals(), Console(quiet=True)):
            pass
    with set_up(again, Signals(), Console(quiet=True)) as resumed:
        assert resumed.checkpoint == Path("mine/checkpoints/last.ckpt")


def test_callbacks_have_the_run_directory_from_the_start() -> None:
    with set_up(plan("run.dir=mine", "run.evaluation=true"), Signals(), Console(quiet=True)) as run:
        callbacks: list[Any] = run.trainer.callbacks  # type: ignore[attr-defined]
        directories = {type(callback).__name__: callback.run.path for callback in callbacks if hasattr(callback, "run")}
    assert directories == dict.fromkeys(
        ["MemberWeights", "ResourcesReport", "RelationsReport", "EvaluationReport", "Record"], Path("mine")
    )


@pytest.mark.parametrize(
    ("recipe", "pairs", "resume", "message"),
    [
        ("ads", (), "runs/x", "recipe= or resume=, not both"),
        (None, ("init_from=runs/y",), "runs/x", "init_from= or resume=, not both"),
        (None, (), None, "no recipe is given"),
        (None, (), "runs/x", "no run directory runs/x"),
    ],
)
def test_arguments_that_contradict_each_other(recipe: Any, pairs: Any, resume: Any, message: str) -> None:
    with pytest.raises(MtlError, match=message):
        plan_run(recipe, pairs, resume, Console(quiet=True))


def test_no_handler_is_installed_by_the_steps_themselves() -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    with set_up(plan(), Signals(), Console(quiet=True)):
        assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before
