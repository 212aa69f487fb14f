"""Settings that the device decides: on a pretended GPU, on a CPU, and where the configuration gives them."""

from collections.abc import Iterator

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator, MPSAccelerator

from mtl_lightning.build import build_module
from mtl_lightning.config import Config, compose, validate
from mtl_lightning.errors import ConfigError
from mtl_lightning.fitting import steps
from mtl_lightning.fitting.device_settings import DeviceSettings, trains_on_gpu
from mtl_lightning.fitting.trainer import build_trainer
from mtl_lightning.schema import Field, Schema, Task


def configuration(*pairs: str) -> Config:
    return validate(compose("ads", pairs).plain)


@pytest.fixture(autouse=True)
def matmul_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("pairs", "gpu", "expected"),
    [
        ((), False, DeviceSettings(500, 0.0, False, False)),
        ((), True, DeviceSettings(0, 600.0, True, True)),
        (("run.checkpoint_every=7",), True, DeviceSettings(7, 0.0, True, True)),
        (("run.checkpoint_every=90s",), False, DeviceSettings(0, 90.0, False, False)),
        (
            ("run.checkpoint_in_background=false", "trainer.precision=32-true"),
            True,
            DeviceSettings(0, 600, False, False),
        ),
        (
            ("run.checkpoint_in_background=true", "trainer.precision=bf16-mixed"),
            False,
            DeviceSettings(500, 0, True, False),
        ),
    ],
)
def test_the_configuration_comes_before_the_device(pairs: tuple[str, ...], gpu: bool, expected: DeviceSettings) -> None:
    assert DeviceSettings.of(configuration(*pairs), gpu=gpu) == expected


def test_lightnings_choice_of_a_device_is_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    for available in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        chosen = [trains_on_gpu({"accelerator": name}) for name in ("auto", "gpu", "cuda", "cpu", "mps")]
        assert chosen == [available] * 3 + [False] * 2
        assert trains_on_gpu({}) == available


def test_apples_gpus_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no float64, so that no step would run."""
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    assert isinstance(build_trainer(configuration()).accelerator, CPUAccelerator)
    with pytest.raises(ConfigError, match=r"trainer\.accelerator: Apple's GPUs can't compute in float64"):
        configuration("trainer.accelerator=gpu")


@pytest.mark.parametrize("gpu", [False, True])
def test_a_trainer_has_the_settings(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "trains_on_gpu", lambda _: gpu)
    schema = Schema((Field(name="x", kind="numeric"),), (Task(name="click", kind="binary", label="click"),))
    trainer = steps.connect_trainer(configuration("trainer.accelerator=cpu"), build_module(schema), [])
    assert torch.get_float32_matmul_precision() == ("high" if gpu else "highest")
    assert trainer.strategy.checkpoint_io.background == gpu  # type: ignore[attr-defined]
