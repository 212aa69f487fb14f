"""Speed of a training step compared with peers: a JSON line per contender and turn, then a table of ratios.

Usage, with an environment that has torch-rechub 0.9.0 and DeepCTR-Torch 0.3.0 (without ``--peers`` only the bare loop
is compared)::

    python -m venv PEERS
    PEERS/bin/pip install -c constraints.txt torch
    PEERS/bin/pip install torch-rechub==0.9.0 deepctr-torch==0.3.0 requests scikit-learn 'setuptools<81'
    python benchmarks/speed --peers PEERS/bin/python --into benchmarks/results/performance.md

Contenders take turns, each in its own process with one thread, so that other programs slow all of them down alike. A
ratio is the median over turns of the quotient within a turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
import into  # noqa: E402 - in the parent folder

OURS, PEERS = ("ours", "bare"), ("rechub", "deepctr")
NAMES = {"bare": "the bare loop", "rechub": "torch-rechub 0.9.0", "deepctr": "DeepCTR-Torch 0.3.0"}


@dataclass(frozen=True)
class Case:
    """A measurement: contenders with their numbers of rows, and the target ratio of ``ours`` to each."""

    ids: int
    batch: int
    rows: dict[str, int]
    aims: dict[str, float]


# Ours saves a checkpoint at the end, `fit` every 500 steps. Rows suffice for about as many steps, so that saving has
# the same share as in a run. The peers save nothing.
CASES = (
    Case(
        10_000,
        2048,
        {"ours": 500_000, "bare": 500_000, "rechub": 200_000, "deepctr": 200_000},
        {"bare": 0.97, "rechub": 1.4, "deepctr": 1.0},
    ),
    Case(10_000, 256, {"ours": 120_000, "bare": 120_000, "rechub": 120_000}, {"bare": 0.92, "rechub": 1.8}),
    Case(1_000_000, 2048, {"ours": 500_000, "rechub": 200_000, "deepctr": 200_000}, {"rechub": 2.3, "deepctr": 1.8}),
    # The peers update every row of the tables at every step, which shows with few rows.
    Case(10_000_000, 2048, {"ours": 1_000_000, "rechub": 20_480, "deepctr": 20_480}, {"rechub": 15, "deepctr": 15}),
)


def measure(contender: str, case: Case, peers: str) -> dict[str, float]:
    """Run a contender once; print and return its record."""
    script, python = ("peers.py", peers) if contender in PEERS else ("ours.py", sys.executable)
    command = [python, script, contender, str(case.rows[contender]), str(case.ids), str(case.batch), "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr[-2000:]}")
    line = ended.stdout.strip().splitlines()[-1]
    print(line, flush=True)
    record: dict[str, float] = json.loads(line)
    return record


CLOCK, CPU = "samples_per_s", "samples_per_cpu_s"
Speeds = dict[str, list[dict[str, float]]]


def ratios(case: Case, speeds: Speeds) -> Iterator[str]:
    """Rows of the table: ours against every other contender."""
    for other, aim in case.aims.items():
        if other in speeds:
            ours, theirs = speeds["ours"], speeds[other]
            rates = (f"{statistics.median(turn[CLOCK] for turn in side):,.0f}" for side in (ours, theirs))
            pairs = list(zip(ours, theirs, strict=True))
            quotients = (f"{statistics.median(a[kind] / b[kind] for a, b in pairs):.2f}" for kind in (CLOCK, CPU))
            cells = str(case.batch), f"{case.ids:,}", NAMES[other], *rates, *quotients, str(aim)
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", default="", help="Python of an environment with the peers")
    parser.add_argument("--turns", type=int, default=3)
    into.add_option(parser, "benchmarks/results/performance.md")
    arguments = parser.parse_args()
    started = time.monotonic()
    rows, medians = [], {}
    for case in CASES:
        contenders = [name for name in case.rows if name in OURS or arguments.peers]
        speeds: Speeds = {name: [] for name in contenders}
        for _ in range(arguments.turns):
            for name in contenders:
                speeds[name].append(measure(name, case, arguments.peers))
        rows += ratios(case, speeds)
        medians[case.ids, case.batch] = statistics.median(turn[CLOCK] for turn in speeds["ours"])
    growth = medians[10_000, 2048] / medians[10_000_000, 2048]
    names = "batch", "ids in all tables", "against", "`fit`", "theirs", "ratio", "by processor time", "aim"
    heads = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    said = f"A step at 10 million ids takes {growth:.2f} times one at 10 thousand (aim 1.2)."
    stamp = f"{into.stamp(started)} Samples per second; {arguments.turns} turns."
    into.show("\n".join([stamp, "", *heads, *rows, "", said]), "speed", arguments.into)


if __name__ == "__main__":
    main()
