"""A comparison that is killed with all its processes is continued, and a run that fails doesn't stop the others."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from final_state import final, same
from warm_python import warm_python

SMALL = ("recipe=conflict", "source.rows=20000", "trainer.max_epochs=3", "run.checkpoint_every=5")
GRID = ("architecture=shared_bottom", "weighter=sum", "constants=0", "confirm=0", "jobs=1")


def start(folder, *arguments, **environment):
    return subprocess.Popen(
        [warm_python(), "-m", "mtl_lightning", "compare", *SMALL, *GRID, *arguments],
        cwd=folder,
        env={**os.environ, "MTL_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def finish(folder, *arguments, **environment):
    process = start(folder, *arguments, **environment)
    printed, _ = process.communicate(timeout=400)
    return process.returncode, printed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_comparison_killed_with_all_its_processes_ends_as_one_that_was_not(tmp_path):
    killed = start(tmp_path, "seeds=2", "out=killed")
    cells = tmp_path / "killed" / "cells"
    deadline = time.monotonic() + 300
    while not list(cells.glob("shared_bottom-sum-seed0/checkpoints/*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (cells / "shared_bottom-sum-seed0" / "test.npz").exists()

    code, printed = finish(tmp_path, "seeds=2", "out=killed")
    assert code == 0, printed
    assert "4 runs, 1 finished" in printed
    log = (tmp_path / "killed" / "logs" / "shared_bottom-sum-seed0.log").read_text()
    assert "resuming from" in " ".join(log.split())
    code, printed = finish(tmp_path, "seeds=2", "out=whole")
    assert code == 0, printed
    for cell in cells.iterdir():
        own, other = (dict(np.load(folder / "test.npz")) for folder in (cell, tmp_path / "whole" / "cells" / cell.name))
        assert own.keys() == other.keys()
        assert all(np.array_equal(own[name], other[name], equal_nan=True) for name in own), cell.name
        record = json.loads((cell / "metrics.json").read_text())
        assert record["test"]["evaluations"] == 1
    verdicts = [json.loads((tmp_path / out / "result.json").read_text())["verdict"] for out in ("killed", "whole")]
    assert verdicts[0] == verdicts[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cells_killed_while_they_are_tested_are_the_same_cells(tmp_path):
    plugin = {"PYTHONPATH": str(Path(__file__).parent / "plugin")}
    code, printed = finish(tmp_path, "seeds=1", "out=whole", **plugin)
    assert code == 0, printed
    fault = {"MTL_FAULT": "kill@before:on_test_batch_end"}
    code, printed = finish(tmp_path, "seeds=1", "out=killed", **plugin, **fault)
    assert code == 1
    assert printed.count("failed with exit code -9") == 2
    code, printed = finish(tmp_path, "seeds=1", "out=killed", **plugin)
    assert code == 0, printed
    assert "2 runs, 0 finished" in printed
    for cell in (tmp_path / "killed" / "cells").iterdir():
        whole = tmp_path / "whole" / "cells" / cell.name
        assert same(final(cell), final(whole))
        own, other = (dict(np.load(folder / "test.npz")) for folder in (cell, whole))
        assert own.keys() == other.keys()
        assert all(np.array_equal(own[name], other[name], equal_nan=True) for name in own), cell.name
        first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (cell, whole))
        assert first == second


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_fails_is_named_and_the_others_are_compared(tmp_path):
    broken = tmp_path / "out" / "cells" / "shared_bottom-dwa-seed0"
    broken.mkdir(parents=True)
    (broken / "config.yaml").write_text("source: [")
    code, printed = finish(tmp_path, "weighter=sum,dwa", "seeds=1", "out=out")
    assert code == 1
    assert "shared_bottom-dwa-seed0: failed with exit code 2: out/logs/shared_bottom-dwa-seed0.log" in printed
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["missing"] == ["shared_bottom-dwa-seed0"]
    assert result["selected"] == "shared_bottom-sum"
    assert set(result["verdict"]["tasks"].values()) == {"no evidence"}  # of one seed
    assert (tmp_path / "out" / "report.html").is_file()
