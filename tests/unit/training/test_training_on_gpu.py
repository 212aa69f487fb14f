"""Training on a GPU next to training on a CPU; skipped where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.plugins import registry
from tests.support import device_steps

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
COMPONENTS = [(kind, name) for kind in ("weighter", "architecture", "encoder") for name in registry().names(kind)]
ALONE = [(kind, name) for kind in ("head", "loss", "metric") for name in registry().names(kind)]
KINDS = ("binary", "regression", "multiclass", "ordinal", "multilabel", "soft_binary", "duration", "quantile", "uplift")
WAITING = {"aligned_mtl", "imtl_g", "cagrad", "nash_mtl", "fairgrad", "star"}
"""Components that docs/gpu.md lists as waiting for the GPU."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataModule:
    module = DataModule(Simulator(rows=2000), batch_size=64, cache_dir=str(tmp_path_factory.mktemp("cache")))
    module.prepare()
    return module


@pytest.fixture(scope="module")
def batches(data: DataModule) -> list[Batch]:
    return [batch for _, batch in zip(range(6), data.train_dataloader(), strict=False)]


@contextmanager
def waiting_refused(refused: bool) -> Iterator[None]:
    """Let torch raise where the host waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error" if refused else "default")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def weights(module: Any) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in module.named_parameters()}


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=lambda value: value)
def test_steps_on_a_gpu_are_the_steps_of_a_cpu(kind: str, name: str, data: DataModule, batches: list[Batch]) -> None:
    """The last steps run while torch refuses to wait, except where docs/gpu.md says that a component waits."""
    parts = {"architecture": "shared_bottom", kind: name}
    near = device_steps.build(data.schema, on_device=False, **parts)
    far = device_steps.build(data.schema, on_device=False, **parts).to("cuda")
    device_steps.train(near, batches[:3], clip=1.0)
    device_steps.train(far, batches[:3], clip=1.0)
    for key, value in weights(far).items():
        torch.testing.assert_close(value, weights(near)[key], rtol=1e-3, atol=1e-4, msg=f"{name}: {key}")
    with waiting_refused(name not in WAITING):
        device_steps.train(far, batches[3:], clip=1.0)


@pytest.mark.parametrize("weighter", ["sum", "upgrad"])
def test_a_resumed_training_reaches_the_same_weights(weighter: str, data: DataModule, tmp_path: Path) -> None:
    def fit(steps: int, resumed: Path | None = None) -> tuple[Any, Trainer]:
        data.train_dataloader().set_epoch(0)
        torch.manual_seed(0)
        module = build_module(data.schema, architecture="mmoe", weighter=weighter)
        trainer = Trainer(max_steps=steps, limit_val_batches=0, accelerator="gpu", devices=1, **QUIET)
        trainer.fit(module, data, ckpt_path=resumed)
        return module, trainer

    straight, _ = fit(8)
    _, trainer = fit(4)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = fit(8, tmp_path / "half.ckpt")
    for key, value in weights(resumed).items():
        torch.testing.assert_close(value, weights(straight)[key], rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_is_near_full_precision(precision: str, data: DataModule) -> None:
    modules = []
    for chosen in (precision, "32-true"):
        data.train_dataloader().set_epoch(0)
        torch.manual_seed(0)
        modules.append(build_module(data.schema, architecture="mmoe", weighter="upgrad"))
        trainer = Trainer(max_steps=10, limit_val_batches=0, accelerator="gpu", devices=1, precision=chosen, **QUIET)
        trainer.fit(modules[-1], data)
    assert modules[0].skipped <= 1
    for key, value in weights(modules[0]).items():
        torch.testing.assert_close(value, weights(modules[1])[key], rtol=0.1, atol=2e-2, msg=key)
