"""The page on hourly training: its loop runs word for word, next to a service that answers all the time."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import command, environment_of
from server import Server

from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.export.bundle import Bundle

SMALL = "trainer.max_epochs=1 architecture=shared_bottom weighter=sum run.relations=0 run.affinity=0 run.test=false"
SMALL += " features.history=null"  # its lists would keep items in use
PAGE = Path(__file__).parents[2] / "docs" / "data" / "hour_after_hour.md"


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    """Start a script of the page in a process group of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**environment_of(folder), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


class Requests(threading.Thread):
    """Requests without a pause, until :meth:`stop`."""

    def __init__(self, server: Server, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.server, self.body, self.ended = server, body, threading.Event()
        self.answers: list[Any] = []

    def run(self) -> None:
        """Send a request after the other; an answer that is not 200 ends the thread."""
        while not self.ended.wait(0.2):
            self.answers.append(self.server.client.post("/score", json=self.body).raise_for_status().json())

    def stop(self) -> list[Any]:
        """Return all answers, of which none failed."""
        assert self.is_alive()
        self.ended.set()
        self.join()
        return self.answers


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_loop_serves_what_each_hour_has_taught(tmp_path: Path) -> None:
    first, served, loop = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert served == "python -m mtl_lightning serve export=exports/current\n"
    log = pa.table(Simulator(rows=6000, users=150, items=80, days=4).rows().with_format("arrow")[:])
    days = pc.divide(pc.subtract(log["timestamp"], pc.min(log["timestamp"])), 86_400)
    # Half of the items are on offer on the first two days only, the others later.
    late = pc.greater_equal(pc.utf8_slice_codeunits(pc.cast(log["item_id"], pa.string()), -1), "5")
    offered = pc.equal(late, pc.greater_equal(days, 2))
    parts = {}
    (tmp_path / "log").mkdir()
    for name, chosen in {"start": (0, 1), "hour-00": (2,), "hour-01": (3,)}.items():
        parts[name] = log.filter(pc.and_(offered, pc.is_in(days, pa.array(chosen))))
        pq.write_table(parts[name], tmp_path / "log" / f"{name}.parquet")
    started = start(first.replace("recipe=ads", f"recipe=ads {SMALL}"), tmp_path)
    output = started.communicate(timeout=600)[0]
    assert started.returncode == 0, output
    columns = list(Bundle.open(tmp_path / "exports" / "start").manifest.columns)
    rows = parts["hour-01"].slice(0, 40).select(columns)
    server = Server(tmp_path / "exports" / "current", reload_every=0.2)
    try:
        requests = Requests(server, {"candidates": rows.to_pylist()})
        requests.start()
        killed = start(loop, tmp_path)
        while not (tmp_path / "runs" / "hour-00" / "config.yaml").exists():
            assert killed.poll() is None
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate(timeout=60)
        again = start(loop, tmp_path)
        output = again.communicate(timeout=600)[0]
        assert again.returncode == 0, output
        assert "resuming from" in output
        done = start(loop, tmp_path)
        assert done.communicate(timeout=60)[0] == ""
        last = Bundle.open(tmp_path / "exports" / "hour-01")
        end = time.monotonic() + 30
        while requests.answers[-1]["model"] != last.identity[:12]:
            assert time.monotonic() < end
            time.sleep(0.05)
        answers = requests.stop()
    finally:
        server.stop()
    assert list(dict.fromkeys(answer["model"] for answer in answers)) == [
        Bundle.open(tmp_path / "exports" / name).identity[:12] for name in parts
    ]
    # What is served is what the run predicts, and the items of the day are known.
    pq.write_table(rows, tmp_path / "rows.parquet")
    run, out = tmp_path / "runs" / "hour-01", tmp_path / "predicted.parquet"
    assert command("predict", f"run={run}", f"data={tmp_path / 'rows.parquet'}", f"out={out}") == 0
    for task, values in answers[-1]["predictions"].items():
        assert values == pytest.approx(pq.read_table(out)[task].to_pylist(), abs=1e-5, rel=1e-5)
    items = {name: set(parts[name]["item_id"].to_pylist()) for name in parts}
    known = Transforms.load(run / "transforms" / "transforms.json").transforms["item_id"].table.vocabulary
    assert set(map(str, known.keys.to_pylist())) >= set(map(str, items["hour-01"]))
    assert set(map(str, known.keys.to_pylist())).isdisjoint(map(str, items["start"]))
