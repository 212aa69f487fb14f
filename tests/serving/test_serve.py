"""The service: what it answers, what it refuses, how it stops, and how it takes a new export."""

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import command
from server import Server

from mtl_lightning.export.bundle import Bundle

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them

USER = ("user_id", "user_segment", "user_city", "user_age", "user_activity", "hour", "weekday", "device", "history")


@pytest.fixture(scope="module")
def server(export: Path) -> Iterator[Server]:
    result = Server(export, max_body=200_000, max_rows=50, body_seconds=1, reload_every=0)
    yield result
    result.stop()


@pytest.fixture(scope="module")
def rows(export: Path, log: Path) -> list[dict[str, Any]]:
    columns = list(Bundle.open(export).manifest.columns)
    return pq.read_table(log, columns=columns).slice(0, 50).to_pylist()


def split(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A request with what the candidates share, which is made equal."""
    candidates = [{name: value for name, value in row.items() if name not in USER} for row in rows]
    return {"context": {name: rows[0][name] for name in USER}, "candidates": candidates}


def test_scores_are_the_exports(server: Server, export: Path, rows: list[dict[str, Any]]) -> None:
    bundle = Bundle.open(export)
    shared = [{**row, **{name: rows[0][name] for name in USER}} for row in rows]
    batch = bundle.transforms.encode(shared)
    parts = {"ids": batch.ids, "dense": batch.dense, "sequence/history": batch.sequences["history"]}
    expected = bundle.run({name: value.numpy() for name, value in parts.items()})
    request = split(rows)
    columns = {name: [candidate[name] for candidate in request["candidates"]] for name in request["candidates"][0]}
    for body in ({"candidates": shared}, request, {**request, "candidates": columns}):
        result = server.client.post("/score", json=body)
        assert result.status_code == 200
        answer = result.json()
        assert answer["model"] == bundle.identity[:12]
        for task, values in expected.items():
            np.testing.assert_allclose(answer["predictions"][task], values, atol=1e-6)
        combined = expected["click"] * expected["conversion"].astype(float) ** 0.5
        np.testing.assert_allclose(answer["score"], combined, rtol=1e-5)


def test_a_value_that_is_unknown_or_null_is_scored(server: Server, rows: list[dict[str, Any]]) -> None:
    odd = [dict.fromkeys(rows[0]), {**rows[0], "user_id": 10**12, "history": [], "category": "new"}]
    assert len(server.client.post("/score", json={"candidates": odd}).json()["score"]) == 2


CHANGES: list[tuple[Any, int, str]] = [
    (b"{", 400, "not JSON"),
    (b"", 400, "not JSON"),
    (b"\xff\xfe", 400, "not JSON"),
    (b'{"candidates": [NaN]}', 400, "not JSON"),
    (b"[" * 90_000, 400, "not JSON"),
    (b"[]", 422, "must be an object"),
    ({}, 422, "candidates must be"),
    ({"candidates": []}, 422, "no candidates"),
    ({"candidates": {}}, 422, "no candidates"),
    ({"candidates": {"a": 1}}, 422, "an object of lists"),
    ({"candidates": {"a": [1], "b": [1, 2]}}, 422, "different lengths"),
    ({"candidates": [1]}, 422, "candidates[0] is not an object"),
    ({"candidates": [{}], "context": [1]}, 422, "context must be an object"),
    ({"candidates": [{}], "context": None}, 422, "context must be an object"),
    ({"candidates": [{}], "contxt": {}}, 422, "unknown key 'contxt'"),
    ({"candidates": [{"a": 1}]}, 422, "no column 'user_id'"),
    ({"price": "cheap"}, 422, "not a number"),
    ({"price": 1e308}, 422, "too large for float32"),
    ({"price": {"eur": 3}}, 422, "'price'"),
    ({"item_id": [1, 2]}, 422, "'item_id'"),
    ({"item_id": {"a": {}}}, 422, "'item_id'"),
    ({"history": {"a": 1}}, 422, "'history'"),
    ({"history": [[1], [2]]}, 422, "'history'"),
    ({"history": [1, "a", {}]}, 422, "'history'"),
]


@pytest.mark.parametrize(("change", "status", "reason"), CHANGES)
def test_bad_input_is_told(server: Server, rows: list[dict[str, Any]], change: Any, status: int, reason: str) -> None:
    if isinstance(change, bytes):
        result = server.client.post("/score", content=change)
    elif change and set(change) <= set(rows[0]):
        result = server.client.post("/score", json={"candidates": [{**rows[0], **change}]})
    else:
        result = server.client.post("/score", json=change)
    assert result.status_code == status, result.text
    assert reason in result.json()["error"]


def test_limits(server: Server, rows: list[dict[str, Any]]) -> None:
    result = server.client.post("/score", json={"candidates": rows + rows[:1]})
    assert result.status_code == 413
    assert "at most 50" in result.json()["error"]
    assert server.client.post("/score", content=b" " * 200_001).status_code == 413
    result = server.client.post("/score", content=(b" " * 50_000 for _ in range(5)))  # no length is declared
    assert result.status_code == 413
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert b" 408 " in slow.recv(1000)
    assert server.client.get("/score").status_code == 405
    assert server.client.get("/nothing").status_code == 404


def test_it_tells_how_it_is(server: Server, export: Path) -> None:
    assert server.client.get("/health").json() == {"ok": True}
    assert server.client.get("/ready").json()["model"] == Bundle.open(export).identity
    metrics = server.client.get("/metrics").text
    assert 'mtl_requests_total{status="422"}' in metrics
    assert "process_resident_memory_bytes" in metrics
    described = server.client.get("/openapi.json").json()
    operation = described["paths"]["/score"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["context"]["properties"]["price"]["type"] == ["number", "null"]
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    assert answer["score"]["description"] == "p_click * p_conversion ^ 0.5"
    assert set(answer["predictions"]["properties"]) == {"click", "conversion", "dwell"}
    assert set(described["paths"]) == {"/score", "/events", "/health", "/ready", "/metrics"}


def test_it_stops_after_what_it_has_begun(export: Path, rows: list[dict[str, Any]]) -> None:
    server = Server(export)
    body = json.dumps({"candidates": rows}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as begun:
        begun.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:100])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.7)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        assert server.process.poll() is None
        begun.sendall(body[100:])
        answer = b""
        while part := begun.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert len(json.loads(answer.split(b"\r\n\r\n", 1)[1])["score"]) == 50
    server.stop()
    assert server.process.returncode == 0


def test_a_new_export_is_taken_without_losing_a_request(
    run: Path, export: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    second = tmp_path / "second"
    assert command("export", f"run={run}", f"out={second}", "score=p_click", "calibrate=false") == 0
    broken = Path(shutil.copytree(second, tmp_path / "broken"))
    (broken / "model.onnx.data").write_bytes(b"")
    link = tmp_path / "current"

    def point(target: Path) -> None:
        (tmp_path / "new").symlink_to(target)
        (tmp_path / "new").replace(link)

    point(export)
    server = Server(link, reload_every=0.2)
    done = threading.Event()
    seen: list[tuple[int, str]] = []

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
            while not done.is_set():
                result = client.post("/score", json={"candidates": rows})
                seen.append((result.status_code, result.json().get("model", "")))

    def wait_for(model: str, text: str) -> None:
        deadline = time.monotonic() + 60
        while server.client.get("/ready").json()["model"] != model or text not in server.client.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    first, last = Bundle.open(export).identity, Bundle.open(second).identity
    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        point(broken)
        wait_for(first, 'mtl_reloads_total{outcome="refused"} 1.0')
        point(second)
        wait_for(last, 'mtl_reloads_total{outcome="taken"} 1.0')
        time.sleep(0.2)
    finally:
        done.set()
        for client in clients:
            client.join()
    assert {status for status, _ in seen} == {200}
    assert {model for _, model in seen} == {first[:12], last[:12]}
    assert server.client.post("/score", json={"candidates": rows}).json()["score"] is not None
    assert "the new export is not served" in server.stop()


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], "serve needs export="),
        (["export=none"], "is not an export"),
        (["export=x", "prot=1"], "did you mean 'port'"),
        (["export=x", "port=http"], "an integer"),
        (["export=x", "max_rows=0"], "an integer of at least 1 and at most"),
    ],
)
def test_wrong_arguments(pairs: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("serve", *pairs) == 2
    assert expected in capsys.readouterr().err


def test_an_address_that_is_taken_or_is_none_is_told(
    server: Server, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for port in (server.port, 99_999_999):
        assert command("serve", f"export={export}", f"port={port}") == 2
        printed = capsys.readouterr()
        assert str(port) in printed.err
        assert "serving" not in printed.out + printed.err
