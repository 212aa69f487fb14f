"""A run that is ended after its last step, resumed and extended, is the same as one that was not: bit for bit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import run_command
from final_state import same

from mtl_lightning.runs.checkpoint import AtomicCheckpointIO

PLUGIN = Path(__file__).parent / "plugin"
LONGER = "trainer.max_epochs=3"

Command = Callable[..., Any]


def state(run: Path) -> dict[str, Any]:
    """All of both checkpoints but the run's directory: weights, optimizer, progress, random states, callbacks."""
    files = [path for path in sorted((run / "checkpoints").iterdir()) if path.name != "previous.ckpt"]
    content = {path.name: AtomicCheckpointIO().load_checkpoint(path) for path in files}
    assert "last.ckpt" in content
    for checkpoint in content.values():
        del checkpoint["mtl_lightning"]["config"]["run"]["dir"]
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def fit(folder: Path, cache: Path) -> Command:
    """Runs ``fit``, or another command, in a process of its own, and checks how it ends."""

    def run(*arguments: str, code: int = 0, fault: str = "", command: str = "fit") -> str:
        variables = {"MTL_CACHE": str(cache), "MTL_FAULT": fault, "PYTHONPATH": str(PLUGIN)}
        ended = run_command(folder, command, *arguments, **variables)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout

    return run


class Pair:
    """A run that nothing interrupted, as it was and extended, and one that was killed within its last epoch."""

    def __init__(self, folder: Path, fit: Command, settings: list[str]) -> None:
        name = f"{len(list(folder.iterdir()))}"
        self.fit, self.folder, self.name = fit, folder, name
        whole = folder / f"{name}-whole"
        fit(*settings, f"run.dir={whole.name}")
        self.state = state(whole)
        fit(f"resume={whole.name}", LONGER)
        self.longer = state(whole)
        fit(*settings, f"run.dir={name}-begun", code=-9, fault="kill@12")

    def begun(self, name: str) -> Path:
        """A copy of the run that was killed within its last epoch."""
        return Path(shutil.copytree(self.folder / f"{self.name}-begun", self.folder / f"{self.name}-{name}"))

    def check(self, run: Path) -> None:
        """Resume a run and extend it: both times it is the run that nothing interrupted."""
        self.fit(f"resume={run.name}")
        assert same(state(run), self.state)
        self.fit(f"resume={run.name}", LONGER)
        assert same(state(run), self.longer)


@pytest.fixture(scope="module")
def validated(folder: Path, fit: Command, small: Any) -> Pair:
    return Pair(folder, fit, [*small, "weighter=famo", "architecture.dropout=0.1"])


@pytest.fixture(scope="module")
def unvalidated(folder: Path, fit: Command, small: Any) -> Pair:
    return Pair(folder, fit, [*small, "weighter=famo", "architecture.dropout=0.1", "trainer.limit_val_batches=0"])


LAST_BATCH = "after:on_train_batch_end#4"  # of the process that resumes the run
PLACES = [
    LAST_BATCH,
    "before:on_validation_start",
    "before:on_validation_batch_end",
    "before:on_validation_end",
    "after:on_validation_end",
    "before:on_train_end",
    "after:on_train_end",
    "before:on_test_start",
    "before:on_test_batch_end",
    "after:on_test_end",
]


def slow_but(*quick: str, places: list[str] = PLACES) -> Any:
    """A case per place; all but some are for the long run."""
    marks = {place: [] if place in quick else [pytest.mark.slow] for place in places}
    return pytest.mark.parametrize("place", [pytest.param(place, marks=marks[place]) for place in places])


@slow_but("before:on_validation_end", "before:on_test_batch_end")
def test_killed(validated: Pair, place: str) -> None:
    run = validated.begun(f"kill {place}")
    validated.fit(f"resume={run.name}", code=-9, fault=f"kill@{place}")
    validated.check(run)


@slow_but(places=[LAST_BATCH, "before:on_train_end", "before:on_test_batch_end"])
def test_killed_without_a_validation(unvalidated: Pair, place: str) -> None:
    run = unvalidated.begun(f"kill {place}")
    unvalidated.fit(f"resume={run.name}", code=-9, fault=f"kill@{place}")
    unvalidated.check(run)


@slow_but("before:on_train_end")
def test_asked_to_stop(validated: Pair, place: str) -> None:
    run = validated.begun(f"stop {place}")
    said = validated.fit(f"resume={run.name}", code=143, fault=f"SIGTERM@{place}")
    assert f"To continue: python -m mtl_lightning fit 'resume={run.name}'" in " ".join(said.split())
    tested = json.loads((run / "metrics.json").read_text())["test"]
    assert tested is None  # what was asked to stop tests nothing more
    validated.check(run)


def test_what_is_complete_stays_as_it_is(validated: Pair) -> None:
    run = validated.begun("complete")
    validated.fit(f"resume={run.name}")
    files = {path: (path.stat().st_ino, path.read_bytes()) for path in (run / "checkpoints").iterdir()}
    assert "is complete" in validated.fit(f"resume={run.name}")
    for _ in range(2):
        validated.fit(f"resume={run.name}", "trainer.max_epochs=2")  # a setting is a reason to look again
    assert files == {path: (path.stat().st_ino, path.read_bytes()) for path in (run / "checkpoints").iterdir()}
    assert json.loads((run / "metrics.json").read_text())["test"]["evaluations"] == 3


@pytest.mark.slow
def test_a_test_that_was_made_before_completes_nothing(validated: Pair) -> None:
    run = validated.begun("tested")
    validated.fit(f"run={run.name}", command="test")  # of the weights of the first epoch
    validated.fit(f"resume={run.name}")
    assert same(state(run), validated.state)
    validated.fit(f"resume={run.name}", LONGER, code=-9, fault="kill@before:on_validation_end")
    validated.fit(f"resume={run.name}")
    assert same(state(run), validated.longer)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("rank", ["0", "1"])
def test_two_processes(tmp_path: Path, cli: Any, small: Any, rank: str) -> None:
    settings = [*small, "weighter=famo", "architecture.dropout=0.1", "trainer.devices=2", "run.timeout=600"]
    assert cli("fit", *settings, "run.dir=whole").returncode == 0
    ended, at_test = state(tmp_path / "whole"), "before:on_test_batch_end"
    killed = cli("fit", *settings, "run.dir=killed", MTL_FAULT=f"kill@{at_test}", MTL_FAULT_RANK=rank)
    assert killed.returncode == (-9 if rank == "0" else 1), killed.stdout + killed.stderr
    stopped = cli("fit", "resume=killed", MTL_FAULT=f"SIGTERM@{at_test}", MTL_FAULT_RANK=rank)
    assert stopped.returncode == 143, stopped.stdout + stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert cli("fit", "resume=killed").returncode == 0
    assert same(state(tmp_path / "killed"), ended)
    for run in ("whole", "killed"):
        assert cli("fit", f"resume={run}", LONGER).returncode == 0
    assert same(state(tmp_path / "killed"), state(tmp_path / "whole"))
