"""Thousands of malformed requests: no error of the server's own, no growth of its memory, and it still answers."""

import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import malformed_requests
import pyarrow.parquet as pq
import pytest
from server import Server

from mtl_lightning.export.bundle import Bundle

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them

CONTEXT = ("user_id", "user_age", "history", "hour")


@pytest.fixture(scope="module")
def server(export: Path) -> Iterator[Server]:
    result = Server(export, max_body=500_000, max_rows=1000, reload_every=0)
    yield result
    result.stop()


@pytest.fixture(scope="module")
def good(export: Path, log: Path) -> dict[str, Any]:
    rows = pq.read_table(log, columns=list(Bundle.open(export).manifest.columns)).slice(0, 3).to_pylist()
    candidates = [{name: item for name, item in row.items() if name not in CONTEXT} for row in rows]
    return {"context": {name: rows[0][name] for name in CONTEXT}, "candidates": candidates}


def memory(server: Server) -> float:
    """The server's resident memory, in MB."""
    result = re.search(r"^process_resident_memory_bytes (\S+)", server.client.get("/metrics").text, re.MULTILINE)
    assert result
    return float(result[1]) / 2**20


def attack(server: Server, good: dict[str, Any], seeds: range) -> dict[int, int]:
    """Number of answers by status."""
    statuses: dict[int, int] = {}
    for seed in seeds:
        body = malformed_requests.body(random.Random(seed), good)
        status = server.client.post("/score", content=body).status_code
        assert status < 500, (seed, body[:500])
        statuses[status] = statuses.get(status, 0) + 1
    return statuses


def hold(server: Server, good: dict[str, Any], count: int) -> None:
    attack(server, good, range(count // 5))
    before = memory(server)
    statuses = attack(server, good, range(count // 5, count))
    assert {400, 413, 422} <= set(statuses)
    assert statuses[200] < sum(statuses.values()) / 3
    assert memory(server) - before < 16
    assert server.client.post("/score", json=good).status_code == 200


def test_malformed_bodies(server: Server, good: dict[str, Any]) -> None:
    hold(server, good, 500)


@pytest.mark.slow
def test_ten_thousand_malformed_bodies(server: Server, good: dict[str, Any]) -> None:
    hold(server, good, 10_000)


def test_what_is_hardly_http(server: Server, good: dict[str, Any]) -> None:
    for seed in range(50):
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.2) as connection:
            connection.sendall(malformed_requests.raw(random.Random(seed)))
            try:
                answer = connection.recv(100)
            except OSError:  # it waits for the rest, or has closed
                continue
            assert not answer.startswith(b"HTTP/1.1 5"), seed
    assert server.client.post("/score", json=good).status_code == 200
