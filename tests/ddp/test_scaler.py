"""A gradient of a table's row that overflows on one process changes the scale of the loss on all."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from launch import HERE, launch
from scaler_run import BAD, STEPS


def test_scales_stay_equal_where_one_process_overflows(tmp_path):
    launch([str(HERE / "scaler_run.py"), str(tmp_path / "out")], world=2)
    first, second = (json.loads((tmp_path / f"out.{rank}").read_text()) for rank in range(2))
    assert first == second
    scales, skipped, finite, _ = first
    assert scales == [1024.0] * BAD + [512.0] * (STEPS - BAD)
    assert (skipped, finite) == (1, True)
