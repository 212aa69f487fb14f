"""Time, processor time and memory of a preparation by threads and by processes, and whether the data is the same.

Usage: ``python executors.py [rows=10000000] [directory=…] [runs="threads 1, threads 2, processes 1, processes 2"]``

Memory is the sum of the proportional set sizes of all processes of the preparation, and processor time is what they
used together, both read every tenth of a second. On a busy machine compare processor times only.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WRITE = """
import sys
from mtl_lightning.data.sources.simulator import Simulator
rows, path = int(sys.argv[1]), sys.argv[2]
source = Simulator(rows=rows, users=max(rows // 50, 100), items=max(rows // 200, 50), days=14)
source.write_parquet(path, rows_per_file=1_000_000)
"""
PREPARE = """
import json, sys

def main():
    from mtl_lightning.build import build_data
    from mtl_lightning.config import compose, validate

    found = build_data(validate(compose("ads", sys.argv[1:]).plain)).prepare()
    print(json.dumps({"seconds": found.summary["seconds"], "identity": found.identity}))

if __name__ == "__main__":  # workers import this file
    main()
"""
TICKS = os.sysconf("SC_CLK_TCK")


def usage(session: int) -> tuple[dict[int, float], float]:
    """Processor time in seconds of each process of a session, and their memory in MiB."""
    seconds, memory = {}, 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                seconds[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS
                lines = (folder / "smaps_rollup").read_text().splitlines()
                memory += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
        except (OSError, IndexError):
            continue  # the process has just ended
    return seconds, memory


def measure(log: Path, executor: str, workers: int) -> dict[str, Any]:
    """Prepare a log in a process of its own."""
    with tempfile.TemporaryDirectory(dir=log.parent) as cache, tempfile.TemporaryFile("w+") as out:
        script = Path(cache, "prepare.py")
        script.write_text(PREPARE)
        pairs = [
            "source=table", f"source.path={log}/*.parquet", "split.column=timestamp", f"data.cache_dir={cache}",
            f"data.executor={executor}", f"data.workers={workers}",
        ]  # fmt: skip
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "MTL_CACHE": cache}
        command = [sys.executable, str(script), *pairs]
        process = subprocess.Popen(command, stdout=out, env=environment, text=True, start_new_session=True)
        seconds: dict[int, float] = {}
        peak = 0.0
        while process.poll() is None:
            now, memory = usage(process.pid)
            seconds |= now
            peak = max(peak, memory)
            time.sleep(0.1)
        out.seek(0)
        if process.returncode:
            raise SystemExit(f"{executor} {workers}: exit code {process.returncode}")
        result = json.loads(out.read().strip().splitlines()[-1])
    return {**result, "processor_seconds": round(sum(seconds.values()), 1), "peak_mib": round(peak)}


def main() -> None:
    """Write the log if it is missing, and print a line per executor."""
    given = dict(pair.split("=", 1) for pair in sys.argv[1:])
    rows = int(given.get("rows", 10_000_000))
    directory = Path(given.get("directory") or tempfile.mkdtemp())
    log = directory / f"log-{rows}"
    if not log.exists():
        subprocess.run([sys.executable, "-c", WRITE, str(rows), str(directory / "writing")], check=True)
        (directory / "writing").rename(log)
    for name in given.get("runs", "threads 1, threads 2, processes 1, processes 2").split(","):
        executor, workers = name.split()
        print(json.dumps({"executor": executor, "workers": int(workers), **measure(log, executor, int(workers))}))


if __name__ == "__main__":
    main()
