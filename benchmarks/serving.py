"""Latency of requests as seen by clients, compared with the bare model: percentiles for clients × candidates.

Usage: python benchmarks/serving.py [clients,…] [seconds per cell] [export]

Without an export, the recipe ads is trained for one epoch on simulated rows and exported. Service and clients are two
processes, connected over loopback. The bare figure is onnxruntime only, on the same rows, encoded in advance, in the
clients' process.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CANDIDATES = (1, 100, 500)
CONTEXT = ("user_id", "user_segment", "user_city", "user_age", "user_activity", "hour", "weekday", "device", "history")
WARM = 50


def command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "mtl_lightning", *arguments], check=True, stdout=subprocess.DEVNULL)


def make(folder: Path) -> Path:
    """Train and export the recipe ads with its own sizes."""
    data = ["source.rows=50000", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    command("fit", "recipe=ads", *data, f"run.dir={folder / 'run'}", f"data.cache_dir={folder / 'cache'}")
    command("export", f"run={folder / 'run'}", f"out={folder / 'export'}", "score=p_click * p_conversion ^ 0.5")
    return folder / "export"


def rows(columns: list[str], count: int) -> list[dict[str, Any]]:
    import pyarrow as pa

    from mtl_lightning.plugins import registry

    source = registry().resolve("source", "simulator")(scenario="ads", rows=20_000, seed=7)
    return pa.table(source.rows().with_format("arrow")[:count]).select(columns).to_pylist()


def request(items: list[dict[str, Any]]) -> bytes:
    """Request for a user's candidates, whose common columns are in the context."""
    candidates = [{name: value for name, value in row.items() if name not in CONTEXT} for row in items]
    return json.dumps({"context": {name: items[0][name] for name in CONTEXT}, "candidates": candidates}).encode()


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return 1e3 * ordered[len(ordered) // 2], 1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def bare(export: Path, bodies: list[bytes], seconds: float) -> tuple[float, float]:
    """Percentiles of the bare model on the same rows, in milliseconds."""
    from mtl_lightning.export.bundle import Bundle
    from mtl_lightning.serve.request import read

    bundle = Bundle.open(export)
    questions = [read(body, list(bundle.manifest.columns), 10_000) for body in bodies]
    parts = [bundle.encoder.encode(question.columns, question.rows) for question in questions]
    inputs = [{name: part[name] for name in bundle.inputs} for part in parts]
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 2 * WARM:
        start = time.perf_counter()
        bundle.session.run(bundle.outputs, inputs[len(taken) % len(inputs)])
        taken.append(time.perf_counter() - start)
    return percentiles(taken[WARM:])


class Client(asyncio.Protocol):
    """Connection that sends the next request after each complete answer."""

    def __init__(self, bodies: list[bytes], taken: list[float], end: float) -> None:
        head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.requests = [head % len(body) + body for body in bodies]
        self.taken, self.end = taken, end
        self.asked, self.answer, self.missing = 0, b"", -1
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if time.perf_counter() > self.end and self.asked > WARM:
            self.transport.close()
            self.done.set_result(None)
            return
        self.answer, self.missing = b"", -1
        self.start = time.perf_counter()
        self.transport.write(self.requests[self.asked % len(self.requests)])
        self.asked += 1

    def data_received(self, data: bytes) -> None:
        self.answer += data
        if self.missing < 0 and b"\r\n\r\n" in self.answer:
            head, self.answer = self.answer.split(b"\r\n\r\n", 1)
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(head.decode())
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            self.missing = int(length.split(b":")[1])
        if 0 <= self.missing <= len(self.answer):
            if self.asked > WARM:
                self.taken.append(time.perf_counter() - self.start)
            self.ask()


async def load(port: int, clients: int, bodies: list[bytes], seconds: float) -> list[float]:
    """Seconds of each request of several concurrent clients."""
    taken: list[float] = []
    loop, end = asyncio.get_running_loop(), time.perf_counter() + seconds

    async def connect() -> Client:
        _, client = await loop.create_connection(lambda: Client(bodies, taken, end), "127.0.0.1", port)
        return client

    connected = [await connect() for _ in range(clients)]
    await asyncio.gather(*(client.done for client in connected))
    return taken


def start_service(export: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a service and wait until it is ready; return its process and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "mtl_lightning", "serve", f"export={export}", f"port={port}", "reload_every=0"],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        except OSError:
            if process.poll() is not None:
                raise SystemExit("the service didn't start") from None
            time.sleep(0.05)


def main(clients: str = "1,16", seconds: str = "5", export: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(export) if export else make(Path(folder))
        columns = list(json.loads((path / "manifest.json").read_text())["columns"])
        items = rows(columns, 10_000)
        process, port = start_service(path)
        try:
            print("| candidates | clients | bare p50 | bare p99 | p50 | p99 | requests/s |")
            print("|---:|---:|---:|---:|---:|---:|---:|")
            for count in CANDIDATES:
                bodies = [request(items[i * 37 : i * 37 + count]) for i in range(20)]
                alone = bare(path, bodies, float(seconds) / 2)
                for number in map(int, clients.split(",")):
                    taken = asyncio.run(load(port, number, bodies, float(seconds)))
                    half, tail = percentiles(taken)
                    cells = [*alone, half, tail]
                    print(f"| {count} | {number} | " + " | ".join(f"{cell:.2f}" for cell in cells), end="")
                    print(f" | {len(taken) / float(seconds):.0f} |", flush=True)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
