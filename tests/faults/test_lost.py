"""A process that dies or falls silent ends the others, with a message that names it and the way on."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtl_lightning.fitting.children import lost_peer

# torchrun ends whoever is left when it sees a dead process: it looks seldom here, so that they can say so before.
AGENT = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--monitor-interval=5")
TORCHRUN = (*AGENT, "-m", "mtl_lightning")


def test_a_killed_process_is_named_and_the_run_goes_on(tmp_path: Path, cli: Any, small: Any) -> None:
    # The timeout is longer than the test may take: a process that is gone is noticed at once.
    settings = [*small, "trainer.devices=2", "run.dir=run", "run.timeout=600"]
    failed = cli("fit", *settings, MTL_FAULT="kill@5", MTL_FAULT_RANK="1")
    assert failed.returncode == 1, failed.stderr
    assert "training failed: the process of rank 1 was ended by SIGKILL" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    result = re.search(
        r"Saved in run/checkpoints/last.ckpt. To continue: python -m mtl_lightning (fit .*)", failed.stdout
    )
    assert result, failed.stdout
    finished = cli(*shlex.split(result.group(1)))
    assert finished.returncode == 0, finished.stderr


def test_what_backends_say_of_lost_processes_is_told_from_other_errors() -> None:
    gloo = "[a/gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]:2. This is typically caused by…"
    assert lost_peer(RuntimeError(gloo)) == "Connection closed by peer [127.0.0.1]:2"
    watchdog = "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7) ran for 1800 ms"
    assert lost_peer(RuntimeError(watchdog)) is not None
    assert lost_peer(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert lost_peer(KeyError("gloo")) is None


@pytest.fixture
def torchrun(tmp_path: Path, cache: Path) -> Any:
    """Runs ``torchrun --nproc-per-node=2 -m mtl_lightning fit …``; ends what a stopped process would leave behind."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        own = {"MTL_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        own["PYTHONPATH"] = str(Path(__file__).parent / "plugin")
        process = subprocess.Popen(
            [*TORCHRUN, "fit", *arguments],
            cwd=tmp_path,
            env={**os.environ, **own, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, error = process.communicate(timeout=240)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_under_torchrun_whoever_is_left_says_so(torchrun: Any, small: Any, rank: str) -> None:
    settings = [*small, "run.dir=run", "run.timeout=15"]
    failed = torchrun(*settings, MTL_FAULT="kill@5", MTL_FAULT_RANK=rank)
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1, said
    assert f"process {1 - int(rank)}: another process died, or was silent for run.timeout=15 s" in said
    assert "To continue: under torchrun as before, with fit resume=run" in said
    finished = torchrun("resume=run")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "resuming from run/checkpoints/last.ckpt" in finished.stdout


@pytest.mark.slow
def test_a_silent_process_is_given_up_after_the_timeout(cli: Any, small: Any) -> None:
    settings = [*small, "trainer.devices=2", "run.dir=run", "run.timeout=15"]
    failed = cli("fit", *settings, MTL_FAULT="SIGSTOP@5", MTL_FAULT_RANK="1")
    assert failed.returncode == 1, failed.stderr
    assert "another process died, or was silent for run.timeout=15 s" in failed.stdout
    assert "To continue: python -m mtl_lightning fit resume=run" in failed.stdout
