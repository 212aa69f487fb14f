"""Two processes, one of which sees no row of some slices, give the slices of one process."""

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from launch import HERE, launch
from slices_run import results


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_slices_are_exact_across_processes(tmp_path):
    launch([str(HERE / "slices_run.py"), str(tmp_path / "out")], world=2)
    alone = results(0, 1)
    assert alone["last process only/rows/click"] > 0
    assert math.isnan(alone["nobody/click/auc"])
    for rank in range(2):
        shared = json.loads((tmp_path / f"out.{rank}").read_text())
        assert shared == pytest.approx(alone, abs=1e-9, nan_ok=True)
