"""Two machines, played by two processes on this one, train what one process trains: under torchrun and SLURM."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from launch import free_port
from warm_python import warm_python

from mtl_lightning.errors import MtlError
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO
from mtl_lightning.training.strategies import add_torchrun_options, build_strategy

# SGD, because float32 with an adaptive optimizer drifts by rounding alone; so do the weights of FAMO, which Adam moves.
SETTINGS = (
    "recipe=ads",
    "weighter=uncertainty",
    "source.rows=3000",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "optimizer.name=sgd",
    "optimizer.tables=sgd",
    "run.timeout=120",
)


def start(folder: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    own = {"MTL_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [warm_python(), "-m", *command],
        cwd=folder,
        env={**os.environ, **own, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    try:
        output = process.communicate(timeout=240)[0]
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


def weights(folder: Path) -> Any:
    return AtomicCheckpointIO().load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.fixture(scope="module")
def single_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of one process, ``one``."""
    folder = tmp_path_factory.mktemp("runs")
    sizes = ("data.batch_size=256", "data.eval_batch_size=512")
    end(start(folder, "mtl_lightning", "fit", *SETTINGS, *sizes, "run.dir=one"))
    return folder


def agents(folder: Path, *command: str) -> list[subprocess.Popen[str]]:
    """Two agents of torchrun, a process each."""
    port = free_port()
    place = ("--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}")
    return [
        start(folder, "torch.distributed.run", "--nnodes=2", f"--node-rank={node}", *place, "-m", *command)
        for node in range(2)
    ]


def tasks(folder: Path, *command: str) -> list[subprocess.Popen[str]]:
    """Two processes with the variables that srun would give them on two machines."""
    common = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "fit",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
        "SLURM_NODELIST": "localhost",
        "SLURM_LOCALID": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    devices = ("trainer.devices=1", "trainer.num_nodes=2")
    return [
        start(folder, *command, *devices, **common, SLURM_PROCID=str(node), SLURM_NODEID=str(node)) for node in range(2)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [agents, tasks])
def test_two_machines_end_with_the_weights_of_one_process(single_run: Path, launcher: Any) -> None:
    name = launcher.__name__
    sizes = ("data.batch_size=128", "data.eval_batch_size=256")
    said = [end(item) for item in launcher(single_run, "mtl_lightning", "fit", *SETTINGS, *sizes, f"run.dir={name}")]
    assert f"run directory {name}" in said[0]
    assert "run directory" not in said[1]
    expected, result = weights(single_run / "one"), weights(single_run / name)
    assert expected.keys() == result.keys()
    for key, value in expected.items():
        assert torch.allclose(value, result[key], rtol=1e-5, atol=1e-5), key


TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6"}


@pytest.mark.parametrize("devices", [None, "auto", -1, 2, "0,1", [0, 1]])
def test_the_numbers_of_torchrun_fill_in_or_agree(devices: Any) -> None:
    chosen = add_torchrun_options({} if devices is None else {"devices": devices}, TORCHRUN)
    assert chosen["num_nodes"] == 3
    assert chosen["devices"] == (2 if devices in (None, "auto", -1) else devices)
    assert add_torchrun_options({"max_epochs": 1}, {}) == {"max_epochs": 1}


def test_other_numbers_than_those_of_torchrun_are_an_error() -> None:
    with pytest.raises(MtlError, match=r"torchrun started devices=2, and trainer.devices is 4"):
        add_torchrun_options({"devices": 4}, TORCHRUN)


def test_several_machines_with_a_device_each_keep_the_timeout() -> None:
    strategy = build_strategy("auto", 1, 77, nodes=2)
    assert strategy._timeout.total_seconds() == 77
    assert build_strategy("auto", "auto", 77, accelerator="cpu") == "auto"
