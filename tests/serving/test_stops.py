"""Stops: accepted requests are answered, under load too, within the grace, and the process ends with 0."""

import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import concurrent_clients
import pyarrow.parquet as pq
import pytest
from server import Server

from mtl_lightning.export.bundle import Bundle

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them

CLIENTS = 64
LOOPS = [(), ("httptools", "uvloop")]
NAMES = ["httptools", "h11"]


@pytest.fixture(scope="module")
def question(export: Path, log: Path) -> bytes:
    rows: list[dict[str, Any]] = pq.read_table(log, columns=list(Bundle.open(export).manifest.columns)).to_pylist()
    return concurrent_clients.request({"candidates": rows[:100]})


def stopped(server: Server, question: bytes, *, keep: bool, after: float) -> Counter[str]:
    """Outcomes of the requests of many clients, on a busy machine, when the service was stopped."""
    server.client.close()
    seen: Counter[str] = Counter()
    clients = threading.Thread(
        target=lambda: seen.update(concurrent_clients.ask_until_refused(server.port, question, CLIENTS, keep=keep))
    )
    with concurrent_clients.busy(2):
        clients.start()
        time.sleep(after)
        server.process.send_signal(signal.SIGTERM)
        clients.join(120)
        assert server.process.wait(60) == 0
    assert not clients.is_alive()
    return seen


def stops(export: Path, question: bytes, without: tuple[str, ...], count: int) -> None:
    for number in range(count):
        server = Server(export, without, reload_every=0.5, grace=60)
        seen = stopped(server, question, keep=number % 2 == 0, after=1 + number / 4)
        assert set(seen) == {"200", "refused"}, seen
        assert seen["200"] >= CLIENTS
        assert "Traceback" not in server.stop()


def test_no_accepted_request_is_lost(export: Path, question: bytes) -> None:
    stops(export, question, (), 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("without", LOOPS, ids=NAMES)
def test_ten_stops_lose_no_accepted_request(export: Path, question: bytes, without: tuple[str, ...]) -> None:
    stops(export, question, without, 10)


def test_what_takes_longer_than_the_grace_gets_503(export: Path, question: bytes) -> None:
    server = Server(export, grace=0, workers=1, reload_every=0)
    seen = stopped(server, question, keep=True, after=2)
    assert set(seen) <= {"200", "503", "refused"}, seen
    assert "Traceback" not in server.stop()


@pytest.fixture(params=LOOPS, ids=NAMES)
def server(request: pytest.FixtureRequest, export: Path) -> Iterator[Server]:
    result = Server(export, request.param, grace=5, head_seconds=60, body_seconds=60, reload_every=0)
    result.client.close()
    yield result
    result.stop()


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def rest(connection: socket.socket) -> bytes:
    result = b""
    while part := connection.recv(65536):
        result += part
    return result


def wait_until_refused(server: Server) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            connected(server).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.01)
    raise AssertionError("it still accepts connections")


def test_half_sent_requests_get_503_when_the_grace_is_over(server: Server, question: bytes) -> None:
    with connected(server) as head, connected(server) as body:
        head.sendall(question[:30])
        body.sendall(question[:-1])
        time.sleep(1)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for item in (head, body):
            result = rest(item)
            assert result.startswith(b"HTTP/1.1 503 "), result
            assert b"\r\nconnection: close\r\n" in result.lower()
            assert json.loads(result.split(b"\r\n\r\n", 1)[1]) == {"error": "the service stops"}
    assert server.process.wait(30) == 0
    assert 4 < time.monotonic() - start < 25


def test_a_connection_that_was_accepted_is_served_once_more_and_closed(server: Server, question: bytes) -> None:
    with connected(server) as fresh, connected(server) as used, connected(server) as silent:
        used.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        result = b""
        while not result.endswith(b'{"ok":true}'):
            result += used.recv(65536)
        assert b"\r\nconnection: close\r\n" not in result.lower()
        server.process.send_signal(signal.SIGTERM)
        wait_until_refused(server)
        fresh.sendall(question)
        used.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        for single, status in ((fresh, b"200"), (used, b"503")):
            result = rest(single)
            assert result.startswith(b"HTTP/1.1 " + status), result
            assert b"\r\nconnection: close\r\n" in result.lower()
        assert rest(silent) == b""
    assert server.process.wait(30) == 0


def test_requests_that_wait_on_a_connection_are_answered(server: Server, question: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(question * 3)
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        result = rest(connection)
    assert result.count(b"HTTP/1.1 200 ") == 3
    assert result.lower().count(b"\r\nconnection: close\r\n") <= 1
    assert server.process.wait(30) == 0


def test_ctrl_c_ends_with_0_and_without_a_word(export: Path) -> None:
    server = Server(export, reload_every=0.1)
    server.client.close()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    assert server.stop() == ""
