"""Two and three processes with uneven rows give the metrics of one process."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from launch import HERE, launch
from metrics_run import empty, results


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
@pytest.mark.parametrize("world", [2, 3])
def test_metrics_are_exact_across_processes(world, tmp_path):
    launch([str(HERE / "metrics_run.py"), str(tmp_path / "out")], world=world)
    alone, alone_empty = results(0, 1), empty(0)
    for rank in range(world):
        shared, shared_empty = json.loads((tmp_path / f"out.{rank}").read_text())
        assert shared == pytest.approx(alone, abs=1e-12)
        assert shared_empty == pytest.approx(alone_empty, abs=1e-12)
