"""Traces of requests, received by a real OTLP/HTTP receiver."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import command
from server import Server

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

pytestmark = pytest.mark.xdist_group("serving")  # one run and one export for all of them

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Receiver(ThreadingHTTPServer):
    """A receiver that keeps the spans, and the name of the service that sent them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[Any] = []
        self.services: set[str] = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait(self, count: int) -> dict[str, Any]:
        """Spans by name, once there are so many."""
        deadline = time.monotonic() + 30
        while len(self.spans) < count:
            assert time.monotonic() < deadline, self.spans
            time.sleep(0.05)
        return {span.name: span for span in self.spans}


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for part in request.resource_spans:
            self.server.services.add(attributes(part.resource)["service.name"])
            self.server.spans += [span for scope in part.scope_spans for span in scope.spans]
        body = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def attributes(holder: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in holder.attributes}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
        receiver.shutdown()


@pytest.fixture(scope="module")
def body(log: Path) -> str:
    return json.dumps({"candidates": pq.read_table(log).slice(0, 3).to_pylist()}, default=str)


def test_a_request_is_a_span_of_its_callers_trace(
    export: Path, body: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    server = Server(export, otel=f"http://127.0.0.1:{receiver.server_port}")
    try:
        ready = server.client.get("/ready").json()
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "r-7"}
        assert server.client.post("/score", content=body, headers=headers).status_code == 200
        assert server.client.post("/score", content=b"{}?secret=1", headers=headers).status_code == 400
        unsampled = {"traceparent": f"00-{TRACE[::-1]}-{PARENT}-00"}
        assert server.client.post("/score", content=body, headers=unsampled).status_code == 200
        receiver.wait(7)
    finally:
        server.stop()
    ours = [span for span in receiver.spans if span.trace_id.hex() == TRACE]
    good, bad = (span for span in ours if span.name == "POST /score")
    assert good.parent_span_id.hex() == bad.parent_span_id.hex() == PARENT
    seen = attributes(good)
    assert seen.pop("url.scheme") == "http"
    assert seen == {
        "http.request.method": "POST",
        "http.route": "/score",
        "url.path": "/score",
        "http.response.status_code": 200,
        "mtl.model": ready["model"][:12],
        "mtl.rows": 3,
        "mtl.request_id": "r-7",
    }
    assert attributes(bad)["http.response.status_code"] == 400
    children = {span.name: span for span in ours if span.parent_span_id == good.span_id}
    assert set(children) == {"queue", "compute"}
    queue, compute = children["queue"], children["compute"]
    assert good.start_time_unix_nano <= queue.start_time_unix_nano <= queue.end_time_unix_nano
    assert queue.end_time_unix_nano <= compute.start_time_unix_nano <= compute.end_time_unix_nano
    assert compute.end_time_unix_nano <= good.end_time_unix_nano
    assert not any(span.trace_id.hex() == TRACE[::-1] for span in receiver.spans)  # its caller does not sample it
    assert {"GET /ready"} < {span.name for span in receiver.spans}
    assert not any(span.events for span in receiver.spans)  # no message of an error holds a value
    assert receiver.services == {"mtl-lightning"}


def test_the_standard_variables_turn_traces_on(
    export: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.server_port}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ads")
    server = Server(export, access_log="json")
    server.stop()  # sends what has not been sent
    assert "GET /ready" in receiver.wait(1)
    assert receiver.services == {"ads"}
    logged = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line[:1] == "{"]
    assert {entry["trace"] for entry in logged} == {span.trace_id.hex() for span in receiver.spans}


def test_a_receiver_that_is_gone_delays_nothing(export: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    server = Server(export, otel="http://127.0.0.1:9")
    slowest = 0.0
    for _ in range(30):
        start = time.monotonic()
        assert server.client.post("/score", content=body).status_code == 200
        slowest = max(slowest, time.monotonic() - start)
    start = time.monotonic()
    text = server.stop()
    assert server.process.returncode == 0
    assert time.monotonic() - start < 15  # a client may wait 10 seconds for each batch
    assert slowest < 5
    assert 1 <= text.count("WARNING traces: ") <= 5


def test_without_traces_nothing_is_imported_for_them() -> None:
    code = """if True:
        import os, sys
        from mtl_lightning.serve.server import _tracing
        assert _tracing("") is None
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}
        assert _tracing("") is None
        # FastAPI itself imports the interfaces of OpenTelemetry.
        print({"opentelemetry.sdk", "opentelemetry.exporter", "mtl_lightning.serve.tracing"} & sys.modules.keys())
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=plain, check=True)
    assert ran.stdout.strip() == "set()"


@pytest.mark.parametrize("packages", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"])
def test_missing_packages_are_named(
    packages: str, export: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, packages, None)
    assert command("serve", f"export={export}", "otel=http://127.0.0.1:4318") == 2
    assert "pip install 'mtl-lightning[otel]'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("address", ["localhost:4318", "grpc://a:4317", "http://", "http://a b"])
def test_an_address_is_checked(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("serve", "export=x", f"otel={address}") == 2
    assert "write http://HOST:4318" in capsys.readouterr().err
