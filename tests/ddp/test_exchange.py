"""The bytes that processes send for the tables depend on the batch, not on the vocabulary."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from exchange_run import STEPS
from launch import HERE, launch
from problem import ROWS


def test_bytes_do_not_grow_with_the_vocabulary(tmp_path):
    launch([str(HERE / "exchange_run.py"), str(tmp_path / "out"), "100", "1000000"], world=2)
    for rank in range(2):
        small, large = json.loads((tmp_path / f"out.{rank}").read_text())
        assert small == large
        total, per_update = small
        assert per_update == total / STEPS
        # A row is its number (4 bytes) and 4 floats; a process's part has at most 24 rows of 5 ids each.
        assert STEPS * 20 <= total <= STEPS * 24 * 20 * 5
        assert ROWS == 47


def test_every_exchange_gives_the_mean_of_gradients_on_all_processes():
    launch([str(HERE / "rows_run.py")], world=4)
