"""A signal is a request while training, and the end otherwise."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtl_lightning.runs.interrupts import Interrupted, Signals


@pytest.fixture
def signals() -> Signals:
    return Signals()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_outside_training_a_signal_ends_at_once(signals: Signals, signum: int, code: int) -> None:
    signals.install()
    try:
        with pytest.raises(Interrupted) as caught:
            os.kill(os.getpid(), signum)
    finally:
        signals.restore()
    assert caught.value.code == code


def test_while_training_the_first_waits_and_the_second_does_not(signals: Signals) -> None:
    signals.deferring = True
    signals.handle(signal.SIGINT)
    assert signals.received == signal.SIGINT
    signals.handle(signal.SIGTERM)  # forwarded by a launcher: the same request
    with pytest.raises(Interrupted):
        signals.handle(signal.SIGINT)


def test_handlers_are_given_back_even_after_others_took_them(signals: Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signals.install()
    signal.signal(signal.SIGTERM, lambda *_: None)
    signals.install()
    assert signal.getsignal(signal.SIGTERM) == signals.handle
    signals.restore()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_spawned_process_starts_without_requests(signals: Signals) -> None:
    signals.deferring = True
    signals.handle(signal.SIGTERM)
    copy = pickle.loads(pickle.dumps(signals))
    assert (copy.received, copy.deferring) == (None, False)


WAITS = """
import os, sys, time
import torch.distributed as dist
from mtl_lightning.runs.interrupts import Signals
rank, file = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
dist.barrier()
if rank == 1:
    print("there", flush=True)
    time.sleep(600)
signals = Signals(grace=1.0)
signals.deferring = True
signals.abandon = lambda: print("abandoned", flush=True)
signals.install()
print("there", flush=True)
if sys.argv[3] == "busy":
    until = time.monotonic() + 4
    while time.monotonic() < until:
        time.sleep(3)
    sys.exit(7)
dist.barrier()
"""


@pytest.mark.parametrize(("doing", "code", "said"), [("waiting", 143, "abandoned"), ("busy", 7, "")])
def test_who_waits_for_others_in_vain_ends_after_the_grace(tmp_path: Path, doing: str, code: int, said: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WAITS, str(rank), str(tmp_path / "meet"), doing], stdout=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
        time.sleep(0.5)  # until the collective has begun
        processes[0].send_signal(signal.SIGTERM)
        printed, _ = processes[0].communicate(timeout=60)
        assert (processes[0].returncode, printed.strip()) == (code, said)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_the_thread_that_watches_ends_with_the_handlers(signals: Signals) -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    signals.install()
    signals.restore()
    assert signal.set_wakeup_fd(before) == before
