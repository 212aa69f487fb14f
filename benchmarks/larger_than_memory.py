"""A log larger than memory, written in chunks, prepared and trained under enforced limits of resident memory.

Usage: ``python larger_than_memory.py [rows=10000000] [prepare=2048] [train=1024] [pool=262144] [batch=4096] [minutes=0]
[directory=…]``

``prepare`` and ``train`` are limits of resident memory in MiB, including libraries and mapped pages. Each stage is a
process of its own, which is killed if it exceeds the limit. Memory is read every 20 ms, which needs no privileges,
unlike a cgroup. ``rows=50000000`` is the long form. ``minutes`` limits the training (0: a whole epoch). With
``directory=``, finished stages are skipped, so that a stopped run resumes.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

INTERVAL = 0.02
PARTS = 10
"""Number of parts of the training whose peaks are compared."""

WRITE = """
import sys
from mtl_lightning.data.sources.simulator import Simulator
rows, path = int(sys.argv[1]), sys.argv[2]
source = Simulator(rows=rows, users=max(rows // 50, 100), items=max(rows // 200, 50), days=14)
source.write_parquet(path, rows_per_file=1_000_000)
"""
PREPARE = """
import json, sys
from mtl_lightning.build import build_data
from mtl_lightning.config import compose, validate
found = build_data(validate(compose(sys.argv[1], sys.argv[2:]).plain)).prepare()
sizes = {name: [len(store), store.bytes] for name, store in found.stores.items()}
print(json.dumps({"seconds": found.summary["seconds"], "stores": sizes}))
"""


def resident(process: int) -> tuple[float, float]:
    """Resident memory of a process in MiB: in total, and without pages of files, which can be dropped."""
    sizes = {"VmRSS": 0.0, "RssFile": 0.0}
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in sizes:
                sizes[name] = int(value.split()[0]) / 1024
    except (OSError, IndexError):
        return 0.0, 0.0  # the process has just ended
    return sizes["VmRSS"], sizes["VmRSS"] - sizes["RssFile"]


def limited(command: list[str], limit: float, environment: dict[str, str]) -> dict[str, Any]:
    """Run a command, and kill it if it uses more than ``limit`` MiB."""
    started, start = time.time(), time.perf_counter()
    samples: list[tuple[float, float, float]] = []
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, text=True)
        while process.poll() is None:
            samples.append((time.perf_counter() - start, *resident(process.pid)))
            if samples[-1][1] > limit:
                process.kill()
                process.wait()
                raise SystemExit(f"killed at {samples[-1][1]:.0f} MiB, the limit is {limit:.0f}: {command}")
            time.sleep(INTERVAL)
        out.seek(0)
        text = out.read()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}\n{text[-3000:]}")
    return {
        "started": started,
        "seconds": round(time.perf_counter() - start, 1),
        "limit": limit,
        "peak": round(max(sample[1] for sample in samples)),
        "peak_without_files": round(max(sample[2] for sample in samples)),
        "samples": samples,
        "text": text,
    }


def peaks(samples: list[tuple[float, float, float]], start: float) -> list[int]:
    """Peak of resident memory in each part of the time after ``start``."""
    length = (samples[-1][0] - start) / PARTS
    parts: list[list[float]] = [[] for _ in range(PARTS)]
    for when, total, _ in samples:
        if when >= start:
            parts[min(int((when - start) / length), PARTS - 1)].append(total)
    return [round(max(part, default=0)) for part in parts]


def settings(log: Path, pool: int, batch: int, minutes: int) -> list[str]:
    """Settings with a small model, so that the measurement is about reading."""
    ends = [f"trainer.max_time=00:{minutes // 60:02d}:{minutes % 60:02d}:00"] if minutes else []
    return [
        *ends,
        "source=table", f"source.path={log}/*.parquet", "split.column=timestamp", f"data.pool={pool}",
        f"data.batch_size={batch}", "data.eval_batch_size=8192", "architecture=shared_bottom", "encoder.width=8",
        "trainer.max_epochs=1", "trainer.accelerator=cpu", "optimizer.schedule=constant", "run.checkpoint_every=0",
    ]  # fmt: skip


def run(
    rows: int, prepare: float, train: float, directory: Path, *, pool: int, batch: int, minutes: int
) -> dict[str, Any]:
    """Run the missing stages; return the measurements of all stages."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "MTL_CACHE": str(directory / "cache")}
    log, record = directory / f"log-{rows}", directory / f"measured-{rows}.json"
    result: dict[str, Any] = json.loads(record.read_text()) if record.is_file() else {"rows": rows}

    def done(stage: str, **values: Any) -> None:
        result[stage] = values
        record.write_text(json.dumps(result, indent=1))

    if not log.exists():
        shutil.rmtree(directory / "writing", ignore_errors=True)
        stage = limited([sys.executable, "-c", WRITE, str(rows), str(directory / "writing")], prepare, environment)
        (directory / "writing").rename(log)
        done("write", **figures(stage))
    if "prepare" not in result:
        stage = limited([sys.executable, "-c", PREPARE, "ads", *settings(log, pool, batch, 0)], prepare, environment)
        stores = json.loads(stage["text"].strip().splitlines()[-1])["stores"]
        size = sum(store[1] for store in stores.values()) / 2**20
        done("prepare", **figures(stage), store=round(size), rows={name: n for name, (n, _) in stores.items()})
    if "train" not in result:
        path = directory / f"run-{rows}-{time.time_ns()}"
        pairs = settings(log, pool, batch, minutes)
        command = [sys.executable, "-m", "mtl_lightning", "fit", "recipe=ads", *pairs, f"run.dir={path}"]
        stage = limited(command, train, environment)
        began = (path / "config.yaml").stat().st_mtime - stage["started"]
        tested = json.loads((path / "metrics.json").read_text())["test"]["metrics"]
        resources = json.loads((path / "resources.json").read_text())
        done(
            "train", **figures(stage), peaks=peaks(stage["samples"], max(began, 0.0)),
            store_over_limit=round(result["prepare"]["store"] / train, 2),
            rows_per_second=round(resources["samples_per_second"]), batch=batch, minutes=minutes,
            click_expected_auc=round(tested["test/click/expected_auc"], 4),
        )  # fmt: skip
    return result


def figures(stage: dict[str, Any]) -> dict[str, Any]:
    """Figures that are reported for every stage; memory in MiB."""
    return {key: stage[key] for key in ("seconds", "limit", "peak", "peak_without_files")}


def main() -> None:
    options = dict(pair.split("=", 1) for pair in sys.argv[1:])
    rows = int(options.get("rows", "10000000"))
    limits = float(options.get("prepare", "2048")), float(options.get("train", "1024"))
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(options.get("directory", temporary))
        directory.mkdir(parents=True, exist_ok=True)
        defaults = {"pool": 262_144, "batch": 4096, "minutes": 0}
        numbers = {name: int(options.get(name, value)) for name, value in defaults.items()}
        print(json.dumps(run(rows, *limits, directory, **numbers), indent=1))


if __name__ == "__main__":
    main()
