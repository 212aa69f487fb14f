"""Memory that runs out in a real process: a sentence, exit code 1, no traceback."""

import subprocess
from pathlib import Path

import pytest
from warm_python import warm_python

resource = pytest.importorskip("resource", reason="limits of a process's memory")

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from mtl_lightning.cli.app import main
main(sys.argv[1:])
"""
SETTINGS = ("source.rows=3000", "architecture=shared_bottom", "trainer.accelerator=cpu", "run.affinity=0")


@pytest.mark.parametrize(
    ("pairs", "saved"),
    [
        (("data.batch_size=2400", "encoder.width=2", "architecture.hidden=[2000000]"), True),  # activations of a step
        (("encoder.width=4000000",), False),  # tables, before training starts
    ],
)
def test_memory_that_runs_out_is_said_in_a_sentence(tmp_path: Path, pairs: tuple[str, ...], saved: bool) -> None:
    arguments = ["fit", "recipe=ads", *SETTINGS, *pairs, f"run.dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [warm_python(), "-c", LIMITED, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "memory ran out: can't allocate memory" in said.replace("\n", " ")
    assert "data.batch_size" in said
    assert "Traceback" not in said
    assert ("training failed" in said) == saved
