"""Training on two nodes: the weights of plain DDP, bit for bit, also when a worker is killed in the middle."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from ray.cloudpickle import register_pickle_by_value

import mtl_lightning
from mtl_lightning.errors import MtlError
from mtl_lightning.fitting import launched
from mtl_lightning.runs.directory import LAST
from mtl_lightning.testing import LauncherContract
from mtl_lightning_ray.launcher import RayLauncher

register_pickle_by_value(sys.modules[__name__])  # workers can't import this file
SETTINGS = [
    "source.rows=3000",
    "data.batch_size=128",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "run.checkpoint_every=5",
    "run.loggers=[]",
]


@pytest.mark.usefixtures("cluster")
class TestRayLauncher(LauncherContract):
    component = RayLauncher
    options = {"workers": 2, "failures": 0}

    def test_an_error_of_the_data_is_raised_as_it_is_and_at_once(self, tmp_path):
        self.options = {"workers": 2, "failures": 2}
        super().test_an_error_of_the_data_is_raised_as_it_is_and_at_once(tmp_path)


class Kill(Callback):
    """Kills the second process at step 7, once."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 7 and trainer.global_rank == 1 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class KillingLauncher(RayLauncher):
    flag: Path

    def trainer_options(self, options):
        chosen = super().trainer_options(options)
        return {**chosen, "callbacks": [*chosen["callbacks"], Kill(self.flag)]}


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_ends_with_the_weights_of_plain_ddp(tmp_path, monkeypatch):
    def build(config):
        launcher = KillingLauncher(**config.run.launcher.options)
        launcher.flag = tmp_path / "killed"
        return launcher

    monkeypatch.setattr(launched, "build_launcher", build)
    shared = [*SETTINGS, f"data.cache_dir={tmp_path / 'cache'}"]
    storage = tmp_path / "storage"
    launcher = f"run.launcher={{name: ray, workers: 2, storage: {storage}}}"
    result = mtl_lightning.fit("ads", *shared, f"run.dir={tmp_path / 'ray'}", launcher)
    command = [sys.executable, "-m", "mtl_lightning", "fit", "recipe=ads", *shared]
    subprocess.run([*command, f"run.dir={tmp_path / 'ddp'}", "trainer.devices=2"], check=True, timeout=200)
    assert (tmp_path / "killed").exists()
    states = [torch.load(tmp_path / run / "checkpoints" / LAST, weights_only=True) for run in ("ray", "ddp")]
    weights, expected = (state["state_dict"] for state in states)
    assert states[0]["global_step"] == states[1]["global_step"] > 7
    assert weights.keys() == expected.keys()
    for name, values in weights.items():
        assert torch.equal(values, expected[name]), name
    assert result.metrics["click"]["auc"] > 0
    (copy,) = storage.glob("ray/checkpoint_*/checkpoints")
    assert (copy / LAST).read_bytes() == (tmp_path / "ray" / "checkpoints" / LAST).read_bytes()
    assert [path.name for path in tmp_path.glob(".ray-*")] == []


def test_numbers_of_devices_are_refused(tmp_path):
    with pytest.raises(MtlError, match=r"trainer\.devices is 2.*run\.launcher\.workers"):
        mtl_lightning.fit("ads", *SETTINGS, "trainer.devices=2", "run.launcher=ray", f"run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()
