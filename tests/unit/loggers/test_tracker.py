"""A tracker never holds up training, loses nothing that a server can still take, and names what it lost."""

import pickle
import re
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from mtl_lightning.errors import MtlError
from mtl_lightning.loggers.tracker import Tracker


class Memory(Tracker):
    """A tracker whose server is a list; attributes of the class say how the server behaves."""

    service = "memory"
    retry = 0.01

    def __init__(self, directory: Path, *, wait: float = 5.0) -> None:
        super().__init__(directory, wait=wait)
        self.received: list[Any] = []
        self.up = threading.Event()
        self.up.set()
        self.attempts = 0

    def settings(self) -> dict[str, Any]:
        return {}

    def connect(self) -> str:
        self.attempts += 1
        if not self.up.is_set():
            raise ConnectionError("refused")
        self.remember({"id": "7"})
        return "client"

    def send_metrics(self, client: Any, metrics: dict[str, float], step: int) -> None:
        if not self.up.is_set():
            raise RuntimeError("request failed") from ConnectionError("refused")
        if step < 0:
            raise ValueError("a negative step")
        self.received.append((step, metrics))

    def send_params(self, client: Any, params: dict[str, Any]) -> None:
        self.received.append(params)

    def send_files(self, client: Any, files: dict[str, Path]) -> None:
        self.received.append(files)

    def send_status(self, client: Any, status: str) -> None:
        self.received.append(status)


def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_everything_arrives_in_its_order(tmp_path: Path) -> None:
    logger = Memory(tmp_path)
    logger.log_hyperparams({"seed": 1})
    for step in range(50):
        logger.log_metrics({"loss": 1 / (1 + step)}, step)
    logger.log_files({"a.html": tmp_path / "a.html"})
    logger.close("success")
    assert logger.received[0] == {"seed": 1}
    assert [record[0] for record in logger.received[1:51]] == list(range(50))
    assert logger.received[51:] == [{"a.html": tmp_path / "a.html"}, "success"]
    assert Memory(tmp_path).known() == {"id": "7"}  # for a resumed run


@pytest.mark.parametrize("connected", [False, True])
def test_a_server_that_is_away_for_a_while_loses_nothing(tmp_path: Path, connected: bool) -> None:
    logger = Memory(tmp_path)
    if connected:
        logger.log_metrics({"loss": 1.0}, 0)
        until(lambda: logger.received)
    logger.up.clear()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for step in (1, 2, 3):
            logger.log_metrics({"loss": 1.0}, step)
        until(lambda: logger._warned)
        time.sleep(0.1)
        logger.up.set()
        logger.close("success")
    (warning,) = seen
    assert re.search("logger memory: can't be reached: .*(refused|failed).*Training continues", str(warning.message))
    assert [record[0] for record in logger.received if record != "success"] == [*([0] if connected else []), 1, 2, 3]
    assert logger.received[-1] == "success"


def test_a_server_that_never_answers_costs_the_wait_and_names_what_is_lost(tmp_path: Path) -> None:
    logger = Memory(tmp_path, wait=0.3)
    logger.up.clear()
    logger.log_metrics({"loss": 1.0}, 1)
    logger.log_metrics({"loss": 1.0}, 2)
    started = time.monotonic()
    with pytest.warns(UserWarning, match="logger memory: 3 records did not reach it"):
        logger.close("failed")
    assert time.monotonic() - started < 5
    assert logger.received == []


@pytest.mark.parametrize("content", ["[1]", '{"memory": 3}', '{"memory": {"id": 7}}', "{"])
def test_a_damaged_identity_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "loggers.json").write_text(content)
    with pytest.raises(MtlError, match=r"loggers\.json"):
        Memory(tmp_path).known()


def test_training_does_not_wait_for_a_slow_server(tmp_path: Path) -> None:
    logger, answered = Memory(tmp_path), threading.Event()
    logger.connect = lambda: answered.wait(20)  # type: ignore[method-assign]
    for step in range(1000):
        logger.log_metrics({"loss": 1.0}, step)  # returns although nothing has been sent
    assert logger.received == []
    answered.set()
    logger.close("success")
    assert len(logger.received) == 1001


def test_a_rejected_record_is_named_and_the_next_ones_arrive(tmp_path: Path) -> None:
    logger = Memory(tmp_path)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        logger.log_metrics({"loss": 1.0}, -1)
        logger.log_metrics({"loss": 1.0}, 1)
        logger.close("success")
    (warning,) = seen
    assert "logger memory: metrics were rejected: ValueError: a negative step" in str(warning.message)
    assert logger.received == [(1, {"loss": 1.0}), "success"]


def test_a_copy_in_another_process_has_what_waits(tmp_path: Path) -> None:
    logger = Memory(tmp_path)
    logger.log_hyperparams({"seed": 1})
    copy = pickle.loads(pickle.dumps(logger))
    copy.received, copy.up = [], logger.up
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.attempts = 0
        copy.log_metrics({"loss": 1.0}, 1)
        copy.finalize("success")  # by Lightning: a spawned process learns of the end of training in no other way
    assert copy.received == [{"seed": 1}, (1, {"loss": 1.0}), "success"]
    logger.finalize("success")
    assert logger.received == []  # the first process still evaluates
    logger.log_metrics({"score": 0.5}, 2)
    logger.close("success")
    assert logger.received == [{"seed": 1}, (2, {"score": 0.5}), "success"]


def test_a_closed_logger_can_continue_its_run(tmp_path: Path) -> None:
    logger = Memory(tmp_path)
    for step in (1, 2):
        logger.log_metrics({"loss": 1.0}, step)
        logger.close("success")
    assert logger.received == [(1, {"loss": 1.0}), "success", (2, {"loss": 1.0}), "success"]
    assert logger.attempts == 2
