"""Checkpoints by time are saved at the same step by processes whose clocks differ."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from launch import HERE, launch


def test_the_clock_of_the_first_process_decides_for_all(tmp_path: Path) -> None:
    launch([str(HERE / "clock_run.py"), str(tmp_path / "out")], world=2)
    first, second = (json.loads((tmp_path / f"out.{rank}").read_text()) for rank in range(2))
    # Processes agree every ten steps: fifteen seconds have passed at the second exchange after a save.
    assert first == second == [20, 40, 60]
