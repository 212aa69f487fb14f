"""One small run and its export for all tests of exporting, predicting and serving."""

import os
import subprocess
import venv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import command

from mtl_lightning.plugins import registry

FORMULA = "p_click * p_conversion ^ 0.5"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the run and its export."""
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="session")
def run(folder: Path) -> Path:
    """A run of the recipe ads on few rows."""
    pairs = ["recipe=ads", "source.rows=3000", "data.batch_size=512", "trainer.max_epochs=1", "architecture.experts=2"]
    assert command("fit", *pairs, f"run.dir={folder / 'run'}", f"data.cache_dir={folder / 'cache'}") == 0
    return folder / "run"


@pytest.fixture(scope="session")
def export(run: Path) -> Path:
    """Its export."""
    out = run.parent / "export"
    assert command("export", f"run={run}", f"out={out}", f"score={FORMULA}") == 0
    return out


@pytest.fixture(scope="session")
def log(folder: Path) -> Path:
    """Raw rows as a parquet file of several row groups."""
    source = registry().resolve("source", "simulator")(scenario="ads", rows=3000, seed=5)
    table = pa.table(source.rows().with_format("arrow")[:])
    pq.write_table(table, folder / "log.parquet", row_group_size=400)
    return folder / "log.parquet"


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with Triton's client, ``MTL_TRITON_PYTHON`` or a new one."""
    if python := os.environ.get("MTL_TRITON_PYTHON"):
        return Path(python)
    home = tmp_path_factory.mktemp("triton")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    packages = ["tritonclient[http,grpc]>=2.50"]
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, capture_output=True)
    return python
