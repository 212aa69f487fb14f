"""Commands as the user runs them: in a process of their own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from warm_python import warm_python

from mtl_lightning.cli.app import main

PLUGIN = Path(__file__).parent / "plugin"
SMALL = (
    "recipe=ads",
    "source.rows=3000",
    "data.batch_size=128",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "trainer.accumulate_grad_batches=3",
    "optimizer.schedule=cosine",
    "optimizer.warmup_steps=2",
    "run.checkpoint_every=2",
    "run.timeout=60",
)
"""About 2 × 7 optimizer steps of 3 batches, the last of an epoch shorter."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    return SMALL


@pytest.fixture
def cli(tmp_path: Path, cache: Path) -> Run:
    """Runs ``python -m mtl_lightning …`` in the test's directory, in a warm process or by another Python."""

    def run(*arguments: str, python: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MTL_")}
        own = {"MTL_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(PLUGIN)}
        return subprocess.run(
            [python or warm_python(), "-m", "mtl_lightning", *arguments],
            cwd=tmp_path,
            env={**inherited, **own, **environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


@pytest.fixture
def inside(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The same in this process: ten times faster, for what goes wrong before training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = 0
        try:
            main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        shown = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, shown.out, shown.err)

    return run
