"""Tokens, ids of requests and the access log."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from commands import command
from fastapi.testclient import TestClient
from server import Server

from mtl_lightning.errors import MtlError
from mtl_lightning.serve.app import Service
from mtl_lightning.serve.limits import Limits
from mtl_lightning.serve.live_export import LiveExport
from mtl_lightning.serve.token import read_token

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them

TOKEN = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def client(export: Path) -> Iterator[httpx.Client]:
    with TestClient(Service(LiveExport(export), Limits(reload_every=0), token=TOKEN).app) as client:
        yield client


def test_a_token_is_needed_except_for_health(client: httpx.Client) -> None:
    for path in ("/health", "/ready", "/v2/health/live", "/v2/health/ready"):
        assert client.get(path).status_code == 200
    closed = ("/metrics", "/openapi.json", "/docs", "/v2", "/v2/models/export", "/nothing", "/health/", "//health")
    wrong = ("", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer ", "Bearer é")
    for path in closed:
        for value in wrong:
            answer = client.get(path, headers=[(b"Authorization", value.encode())] if value else [])
            assert answer.status_code == 401, (path, value)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in answer.text
    answer = client.post("/score", content=b"{}")
    assert (answer.status_code, answer.headers["connection"]) == (401, "close")
    for scheme in ("Bearer", "bearer"):
        metrics = client.get("/metrics", headers={"Authorization": f"{scheme} {TOKEN}"})
        assert metrics.status_code == 200
        assert f'mtl_requests_total{{status="401"}} {len(closed) * len(wrong) + 1:.1f}' in metrics.text


def test_requests_have_ids(client: httpx.Client) -> None:
    assert client.get("/health", headers={"X-Request-Id": "a-1:b/2"}).headers["x-request-id"] == "a-1:b/2"
    assert client.get("/metrics", headers={"X-Request-Id": "of-a-refusal"}).headers["x-request-id"] == "of-a-refusal"
    new = {client.get("/health").headers["x-request-id"] for _ in range(3)}
    for odd in (b"a b", b"x" * 129, b'"', "é".encode()):
        identity = client.get("/health", headers=[(b"X-Request-Id", odd)]).headers["x-request-id"]
        assert len(identity) == 32
        new.add(identity)
    assert len(new) == 7


def test_the_token_is_read_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(str(file), {"MTL_SERVE_TOKEN": "x" * 20}) == TOKEN
    assert read_token("", {"MTL_SERVE_TOKEN": TOKEN}) == TOKEN
    assert read_token("", {}) is None
    for content in ("", "short", f"{TOKEN} {TOKEN}", f"{TOKEN}é", f"{TOKEN}\n{TOKEN}"):
        file.write_text(content)
        with pytest.raises(MtlError, match=r"token in .*(characters|ASCII)"):
            read_token(str(file), {})
    with pytest.raises(MtlError, match=r"MTL_SERVE_TOKEN.*0 characters"):
        read_token("", {"MTL_SERVE_TOKEN": ""})
    with pytest.raises(MtlError, match="No such file"):
        read_token(str(tmp_path / "none"), {})


@pytest.mark.parametrize(
    ("pair", "expected"),
    [("token_file=none", "token_file: none can't be read"), ("access_log=yes", "one of off, json")],
)
def test_wrong_arguments(export: Path, pair: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("serve", f"export={export}", pair) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="reads /proc")
def test_the_log_has_a_line_per_request_and_no_secret(
    export: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    server = Server(export, token_file=file, access_log="json", name="shop", reload_every=0)
    own = {"Authorization": f"Bearer {TOKEN}", "X-Request-Id": "first"}
    assert server.client.get("/v2/models/shop?key=secret", headers=own).status_code == 200
    assert server.client.post("/score", content=b"{", headers=own).status_code == 400
    assert server.client.post("/score", content=b"{", headers={"Authorization": "Bearer secret"}).status_code == 401
    assert TOKEN not in Path(f"/proc/{server.process.pid}/cmdline").read_text()
    errors = server.stop()
    output = capfd.readouterr().out
    entries = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [(entry["path"], entry["status"]) for entry in entries if entry["path"] != "/ready"] == [
        ("/v2/models/shop", 200),
        ("/score", 400),
        ("/score", 401),
    ]
    entry = entries[-3]
    assert set(entry) == {"time", "id", "client", "method", "path", "status", "seconds", "bytes"}
    assert (entry["id"], entry["client"], entry["method"]) == ("first", "127.0.0.1", "GET")
    assert entry["bytes"] > 100
    assert 0 < entry["seconds"] < 60
    assert TOKEN not in output + errors
    assert "secret" not in output + errors
