"""Signals save and say how to continue; failures end every process."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

DDP = ("trainer.devices=2", "trainer.strategy=ddp")


def resume_arguments(output: str) -> list[str]:
    """The arguments of the command that a run prints when it stops."""
    result = re.search(r"python -m mtl_lightning (fit .*)", output)
    assert result, output
    return shlex.split(result.group(1))


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_saves_and_the_printed_command_goes_on(
    tmp_path: Path, cli: Any, small: Any, name: str, code: int
) -> None:
    stopped = cli("fit", *small, "run.checkpoint_every=1000", MTL_FAULT=f"{name}@3")
    assert stopped.returncode == code, stopped.stderr
    assert "Traceback" not in stopped.stderr
    arguments = resume_arguments(stopped.stdout)
    finished = cli(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert "resuming from" in finished.stdout
    run = tmp_path / arguments[-1].removeprefix("resume=")
    assert json.loads((run / "metrics.json").read_text())["test"]["evaluations"] == 1
    again = cli(*arguments)
    assert again.returncode == 0
    assert "is complete" in again.stdout
    assert json.loads((run / "metrics.json").read_text())["test"]["evaluations"] == 1


@pytest.mark.parametrize(("name", "rank", "code"), [("SIGTERM", "0", 143), ("SIGINT", "1", 143)])
def test_two_processes_stop_together_whichever_was_asked(
    tmp_path: Path, cli: Any, small: Any, name: str, rank: str, code: int
) -> None:
    settings = [*small, *DDP, "run.dir=run", "trainer.max_epochs=9"]
    # Lightning looks at child processes every 5 seconds.
    linger = "6" if rank == "0" else "0"
    stopped = cli("fit", *settings, MTL_FAULT=f"{name}@3", MTL_FAULT_RANK=rank, MTL_FAULT_LINGER=linger)
    assert stopped.returncode == code, stopped.stderr
    assert resume_arguments(stopped.stdout) == ["fit", "resume=run"]
    assert (tmp_path / "run/checkpoints/last.ckpt").exists()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_failure_of_one_process_ends_both_soon(cli: Any, small: Any, rank: str) -> None:
    failed = cli("fit", *small, *DDP, "run.dir=run", "run.timeout=600", MTL_FAULT="raise@2", MTL_FAULT_RANK=rank)
    assert failed.returncode not in (0, 2)
    assert "a fault of the test" in failed.stderr


def test_a_failure_that_is_the_users_to_solve_has_no_traceback(cli: Any, small: Any) -> None:
    failed = cli("fit", *small, "run.dir=run", MTL_FAULT="stop@3")
    assert failed.returncode == 1
    assert "a fault of the test (there is nothing to do)" in failed.stdout
    assert "Traceback" not in failed.stderr
    assert resume_arguments(failed.stdout) == ["fit", "resume=run"]


def test_resume_before_the_first_checkpoint_starts_again_in_the_same_directory(
    tmp_path: Path, cli: Any, small: Any
) -> None:
    assert cli("fit", *small, "run.dir=run", MTL_FAULT="kill@0").returncode == -9
    assert not (tmp_path / "run/checkpoints").exists()
    finished = cli("fit", "resume=run")
    assert finished.returncode == 0, finished.stderr
    assert "from the beginning" in finished.stdout
    assert (tmp_path / "run/metrics.json").exists()


def test_spawned_processes_train_stop_and_go_on(tmp_path: Path, cli: Any, small: Any) -> None:
    spawn = ("trainer.devices=2", "trainer.strategy=ddp_spawn", "run.dir=run")
    stopped = cli("fit", *small, *spawn, MTL_FAULT="SIGTERM@3")
    assert stopped.returncode == 143, stopped.stderr
    assert resume_arguments(stopped.stdout) == ["fit", "resume=run"]
    finished = cli("fit", "resume=run")
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "run/metrics.json").read_text())["test"]["evaluations"] == 1
