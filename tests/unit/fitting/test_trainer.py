"""The Trainer of a run: what is refused before any process starts."""

import pytest

from mtl_lightning.config import compose, validate
from mtl_lightning.errors import MtlError
from mtl_lightning.fitting.trainer import build_trainer


def build(*pairs: str) -> int:
    """Number of devices of a Trainer on CPUs."""
    config = validate(compose("ads", ["trainer.accelerator=cpu", *pairs]).plain)
    return build_trainer(config).num_devices


def test_nodes_have_equally_many_processes() -> None:
    assert [build(f"trainer.devices={n}", "optimizer.exchange_group=2") for n in (1, 2, 4)] == [1, 2, 4]
    with pytest.raises(MtlError, match=r"optimizer\.exchange_group: 2 processes per node do not divide 3 processes"):
        build("trainer.devices=3", "optimizer.exchange_group=2")
