"""Training on a GPU next to training on a CPU; skipped where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from mtl_lightning.batch import Batch, Target
from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.plugins import registry
from mtl_lightning.task_kinds import task_kind
from mtl_lightning.testing.example import example_prediction, example_target, example_task
from mtl_lightning.testing.head import Funnel
from mtl_lightning.testing.loss import Case
from tests.contracts.test_contracts import SETTINGS
from tests.support import device_steps

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
COMPONENTS = [(kind, name) for kind in ("weighter", "architecture", "encoder") for name in registry().names(kind)]
DEVICE = torch.device("cuda")
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


def sent(value: Any, device: torch.device) -> Any:
    """Tensors of a target, or of a mapping, on a device."""
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, Target):
        return replace(
            value, **{part.name: sent(getattr(value, part.name), device) for part in fields(value) if part.init}
        )
    return {key: sent(item, device) for key, item in value.items()} if isinstance(value, dict) else value


def funnel_on(device: torch.device, kind: str, parents: tuple[str, ...], head: Any) -> Funnel:
    """A head with its parents and its rows on a device."""
    torch.manual_seed(0)
    funnel = Funnel(kind, parents, head)
    for part in (funnel.head, *funnel.parents.values()):
        part.to(device)
    funnel.h, funnel.raw = sent(funnel.h, device).requires_grad_(), sent(funnel.raw, device)
    return funnel


@pytest.mark.parametrize("name", registry().names("head"))
def test_heads_predict_on_a_gpu_as_on_a_cpu(name: str) -> None:
    head = registry().resolve("head", name)
    for kind in sorted(head.kinds):
        parents = SETTINGS.get(("head", name), {}).get("parents", ())
        near, far = (funnel_on(device, kind, parents, head) for device in (torch.device("cpu"), DEVICE))
        values = [funnel.prediction(funnel.output()).detach().cpu() for funnel in (near, far)]
        torch.testing.assert_close(values[1], values[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", registry().names("loss"))
def test_losses_and_their_gradients_on_a_gpu_are_as_on_a_cpu(name: str) -> None:
    loss, options = registry().resolve("loss", name), SETTINGS.get(("loss", name), {})
    for kind in sorted(loss.kinds):
        results = []
        for device in (torch.device("cpu"), DEVICE):
            head = registry().resolve("head", options.get("head") or task_kind(kind).head)
            funnel = funnel_on(device, kind, options.get("parents", ()), head)
            case = Case(loss(funnel.task).to(device), funnel, torch.float32)
            case.targets = sent(case.targets, device)
            value = case.value(torch.arange(len(case.h), device=device))
            results.append([value.detach().cpu(), torch.autograd.grad(value, case.h)[0].cpu()])
        for near, far in zip(*results, strict=True):
            torch.testing.assert_close(far, near, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", registry().names("metric"))
def test_metrics_on_a_gpu_are_as_on_a_cpu(name: str) -> None:
    metric = registry().resolve("metric", name)
    for kind in sorted(metric.kinds):
        task, values = example_task(kind), []
        for device in (torch.device("cpu"), DEVICE):
            measured = metric(task).to(device)
            measured.update(sent(example_prediction(task, 240), device), sent(example_target(task, 240), device))
            values.append(measured.compute().cpu().double())
        torch.testing.assert_close(values[1], values[0], rtol=1e-5, atol=1e-5)


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
