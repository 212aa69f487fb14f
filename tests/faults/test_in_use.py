"""Two processes never train in one directory, and one that was killed blocks no other."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from warm_python import warm_python


def test_a_run_that_trains_is_not_resumed_until_it_is_gone(tmp_path: Path, cache: Path, cli: Any, small: Any) -> None:
    command = [
        warm_python(),
        "-m",
        "mtl_lightning",
        "fit",
        *small,
        "run.dir=run",
        "trainer.max_epochs=1000",
        "run.patience=null",
    ]
    own = {"MTL_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as first:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file():
                assert first.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            for other in (("fit", "resume=run"), ("fit", *small, "run.dir=run")):
                refused = cli(*other)
                assert refused.returncode == 2, refused.stdout
                assert "run" in refused.stderr
                assert "in use" in refused.stderr or "is not empty" in refused.stderr
                assert "Traceback" not in refused.stderr
            assert first.poll() is None
        finally:
            first.send_signal(signal.SIGKILL)
    resumed = cli("fit", "resume=run", "trainer.max_steps=1", "run.test=false")
    assert resumed.returncode == 0, resumed.stderr
