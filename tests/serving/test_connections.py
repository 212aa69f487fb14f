"""Limits of connections: the size, number and time of headers, slow bodies, floods, and what they cost the others."""

import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import command
from server import Server

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them

LIMITS = {"max_head": 8000, "max_headers": 20, "head_seconds": 1, "body_seconds": 1, "max_connections": 200}
GET = b"GET /ready HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module", params=[(), ("httptools", "uvloop")], ids=["httptools", "h11"])
def server(request: pytest.FixtureRequest, export: Path) -> Iterator[Server]:
    result = Server(export, request.param, reload_every=0, **LIMITS)
    yield result
    result.stop()
    assert result.process.returncode == 0


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def rest(connection: socket.socket) -> bytes:
    """Bytes that arrive until the server closes."""
    result = b""
    try:
        while part := connection.recv(65536):
            result += part
    except ConnectionResetError:  # bytes that were sent after the answer are not read
        pass
    return result


def answered(server: Server, *parts: bytes) -> bytes:
    """Bytes that arrive until the server closes, after all of this was sent."""
    with connected(server) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):  # the server has answered before
            pass
        return rest(connection)


def memory(server: Server) -> float:
    """The server's resident memory, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    result = re.search(r"VmRSS:\s+(\d+)", status)
    assert result
    return int(result[1]) / 1024


def slowest(server: Server, count: int) -> float:
    """Seconds of the slowest of some requests."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        assert server.client.get("/health").status_code == 200
        seconds.append(time.perf_counter() - start)
    return max(seconds)


def headers(size: int) -> bytes:
    """The end of a head that begins with GET and has so many bytes in all."""
    return b"A: " + b"a" * (size - len(GET) - 7) + b"\r\n\r\n"


def test_a_head_of_the_limit_is_read_and_a_larger_one_is_refused(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(GET + headers(LIMITS["max_head"]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    for size in (LIMITS["max_head"] + 100, 20_000, 200_000):
        result = answered(server, GET + headers(size))
        assert result.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"), result
        assert b"larger than 8,000 bytes" in result
        assert b"\r\nconnection: close\r\n" in result
    assert answered(server, b"GET /" + b"a" * 20_000, b" HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    assert 'mtl_requests_total{status="431"}' in server.client.get("/metrics").text


def test_too_many_headers(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(GET + b"A: 1\r\n" * 19 + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    result = answered(server, GET + b"A: 1\r\n" * 20 + b"\r\n")
    assert result.startswith(b"HTTP/1.1 431 ")
    assert b"more than 20 headers" in result


@pytest.mark.parametrize("start", [GET + b"A: ", GET + b"A", b"GET /"], ids=["value", "name", "path"])
def test_a_header_of_300_mb_costs_neither_memory_nor_time(server: Server, start: bytes) -> None:
    slowest(server, 20)
    before, block = memory(server), b"a" * (1 << 20)
    with connected(server) as connection:
        connection.sendall(start)
        sent = 0
        try:
            while sent < 300:
                connection.sendall(block)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert slowest(server, 20) < 1
        assert rest(connection)[:13] in (b"HTTP/1.1 431 ", b"HTTP/1.1 400 ", b"")
    assert memory(server) - before < 16


def test_a_trailer_of_20_mb(server: Server) -> None:
    before = memory(server)
    body = b"POST /score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nA: "
    result = answered(server, body, *[b"a" * (1 << 20)] * 20)
    assert result[:13] in (b"HTTP/1.1 431 ", b"HTTP/1.1 400 ", b"HTTP/1.1 408 ", b"")
    assert memory(server) - before < 16
    assert slowest(server, 5) < 1


def half_sent(server: Server, count: int) -> None:
    begun = [connected(server) for _ in range(count)]
    for connection in begun:
        connection.sendall(GET + b"A: ")
    for connection in begun:
        assert rest(connection).startswith(b"HTTP/1.1 408 ")
        connection.close()


def test_half_sent_heads_are_closed(server: Server) -> None:
    start = time.monotonic()
    half_sent(server, 100)
    assert time.monotonic() - start < 20
    assert server.client.get("/ready").status_code == 200


def test_heads_that_drip_and_silent_connections_are_closed(server: Server) -> None:
    for drip in (b"", b"\r\n", b"a"):
        with connected(server) as connection:
            connection.settimeout(0.1)
            connection.sendall(GET if drip == b"a" else b"")
            deadline = time.monotonic() + 20
            result: bytes | None = None
            while result is None or result.startswith(b"HTTP/1.1 408 "):
                assert time.monotonic() < deadline
                try:
                    connection.sendall(drip)
                    result = connection.recv(1000)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
                if not result:
                    break


@pytest.mark.parametrize("path", [b"/score", b"/health", b"/nothing"])
def test_a_slow_body_is_not_waited_for(server: Server, path: bytes) -> None:
    start = time.monotonic()
    result = answered(server, b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    status = {b"/score": b"408", b"/health": b"405", b"/nothing": b"404"}[path]
    assert re.findall(rb"HTTP/1.1 (\d+) ", result) == [status]
    assert time.monotonic() - start < 20


def test_requests_before_a_bad_one_are_answered(server: Server) -> None:
    good = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    for bad, status in ((b"what?\r\n\r\n", b"400"), (GET + headers(20_000), b"431"), (GET + b"A: ", b"408")):
        result = answered(server, good * 3 + bad)
        assert re.findall(rb"HTTP/1.1 (\d+) ", result) == [b"200"] * 3 + [status]


def test_thousands_of_requests_at_once_on_one_connection(server: Server) -> None:
    before = memory(server)
    request = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    statuses = re.findall(rb"HTTP/1.1 (\d+) ", answered(server, *[request * 1000] * 20))
    assert set(statuses) <= {b"422", b"503"}
    assert memory(server) - before < 32
    assert slowest(server, 5) < 1


def test_more_connections_than_allowed(server: Server) -> None:
    server.client.get("/ready")
    begun = [connected(server) for _ in range(LIMITS["max_connections"] + 10)]
    refused = rest(begun[-1])
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"more than 200 connections" in refused
    for connection in begun:
        connection.close()
    deadline = time.monotonic() + 20
    while server.client.get("/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ask_without_reading(connection: socket.socket, seconds: float) -> None:
    """Send whole requests for as long as the server takes them, and wait."""
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    left, deadline = request, time.monotonic() + seconds
    connection.settimeout(1)
    while time.monotonic() < deadline:
        try:
            left = left[connection.send(left) :] or request
        except TimeoutError:
            continue


@pytest.mark.slow
def test_a_client_that_asks_and_never_reads_is_cut_off(server: Server) -> None:
    before = memory(server)
    with connected(server) as connection, pytest.raises(ConnectionError):
        ask_without_reading(connection, 120)
    assert memory(server) - before < 32


@pytest.mark.slow
def test_fifteen_hundred_half_sent_heads(export: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4000:
        pytest.skip(f"a process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4000), hard))
    server = Server(export, reload_every=0, head_seconds=2, max_connections=2000)
    before = memory(server)
    half_sent(server, 1500)
    assert memory(server) - before < 64
    server.stop()
    assert server.process.returncode == 0


@pytest.mark.parametrize("pair", ["max_head=0", "max_headers=-1", "head_seconds=0", "max_connections=0", "grace=-1"])
def test_limits_out_of_range(pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("serve", "export=x", pair) == 2
    assert "serve: wrong value " + pair in capsys.readouterr().err
