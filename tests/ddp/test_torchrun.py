"""Two machines, played by two torchrun agents on this one, train what one process trains."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from launch import free_port

from mtl_lightning.checkpoint import AtomicCheckpointIO
from mtl_lightning.errors import MtlError
from mtl_lightning.strategies import build_strategy, launched

# SGD, because float32 with an adaptive optimizer drifts by rounding alone.
SETTINGS = (
    "recipe=ads",
    "source.rows=3000",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "optimizer.name=sgd",
    "optimizer.tables=sgd",
    "run.timeout=120",
)


@pytest.mark.slow
def test_two_agents_end_with_the_weights_of_one_process(tmp_path: Path) -> None:
    environment = {**os.environ, "MTL_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    port = free_port()

    def start(*command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=environment,
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

    end(start("mtl_lightning", "fit", *SETTINGS, "data.batch_size=256", "data.eval_batch_size=512", "run.dir=one"))
    agents = [
        start(
            "torch.distributed.run",
            "--nnodes=2",
            f"--node-rank={node}",
            "--nproc-per-node=1",
            "--master-addr=127.0.0.1",
            f"--master-port={port}",
            "-m",
            "mtl_lightning",
            "fit",
            *SETTINGS,
            "data.batch_size=128",
            "data.eval_batch_size=256",
            "run.dir=two",
        )
        for node in range(2)
    ]
    said = [end(agent) for agent in agents]
    assert "run directory two" in said[0]
    assert "run directory" not in said[1]

    def weights(run: str) -> Any:
        return AtomicCheckpointIO().load_checkpoint(tmp_path / run / "checkpoints" / "last.ckpt")["state_dict"]

    one, two = weights("one"), weights("two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(value, two[name], rtol=1e-5, atol=1e-5), name


TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6"}


@pytest.mark.parametrize("devices", [None, "auto", -1, 2, "0,1", [0, 1]])
def test_the_numbers_of_torchrun_fill_in_or_agree(devices: Any) -> None:
    chosen = launched({} if devices is None else {"devices": devices}, TORCHRUN)
    assert chosen["num_nodes"] == 3
    assert chosen["devices"] == (2 if devices in (None, "auto", -1) else devices)
    assert launched({"max_epochs": 1}, {}) == {"max_epochs": 1}


def test_other_numbers_than_those_of_torchrun_are_an_error() -> None:
    with pytest.raises(MtlError, match=r"torchrun started devices=2, and trainer.devices is 4"):
        launched({"devices": 4}, TORCHRUN)


def test_several_machines_with_a_device_each_keep_the_timeout() -> None:
    strategy = build_strategy("auto", 1, 77, nodes=2)
    assert strategy._timeout.total_seconds() == 77
    assert build_strategy("auto", "auto", 77, accelerator="cpu") == "auto"
