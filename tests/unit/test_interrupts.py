"""A signal is a request while training, and the end otherwise."""

import os
import pickle
import signal

import pytest

from mtl_lightning.interrupts import Interrupted, Signals


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
