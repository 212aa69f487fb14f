"""The contract kit: what every component must do, as tests that a plugin's author inherits.

Example:
    A test module of a plugin, run by pytest::

        from mtl_lightning.testing import WeighterContract

        from mtl_foo.mean import Mean

        class TestMean(WeighterContract):
            component = Mean
            options = {"scale": 2.0}
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in ("component", "feature", "encoder", "architecture", "head", "logger", "loss", "metric", "source")
    ),
    f"{__name__}.executor",
    f"{__name__}.launcher",
    f"{__name__}.weighter",
)

from mtl_lightning.testing.architecture import ArchitectureContract  # noqa: E402  (pytest must see the modules first)
from mtl_lightning.testing.component import ComponentContract  # noqa: E402
from mtl_lightning.testing.encoder import EncoderContract  # noqa: E402
from mtl_lightning.testing.example import (  # noqa: E402
    example_batch,
    example_label,
    example_prediction,
    example_requests,
    example_schema,
    example_steps,
    example_target,
    example_task,
)
from mtl_lightning.testing.executor import ExecutorContract  # noqa: E402
from mtl_lightning.testing.feature import FeatureContract  # noqa: E402
from mtl_lightning.testing.head import HeadContract  # noqa: E402
from mtl_lightning.testing.launcher import LauncherContract  # noqa: E402
from mtl_lightning.testing.logger import LoggerContract  # noqa: E402
from mtl_lightning.testing.loss import LossContract  # noqa: E402
from mtl_lightning.testing.metric import MetricContract  # noqa: E402
from mtl_lightning.testing.source import SourceContract  # noqa: E402
from mtl_lightning.testing.weighter import WeighterContract  # noqa: E402

CONTRACTS: dict[str, type[ComponentContract]] = {
    "source": SourceContract,
    "feature": FeatureContract,
    "encoder": EncoderContract,
    "architecture": ArchitectureContract,
    "head": HeadContract,
    "loss": LossContract,
    "weighter": WeighterContract,
    "metric": MetricContract,
    "logger": LoggerContract,
    "executor": ExecutorContract,
    "launcher": LauncherContract,
}
"""The contract of each kind of component."""

__all__ = [
    "CONTRACTS",
    "ArchitectureContract",
    "ComponentContract",
    "EncoderContract",
    "ExecutorContract",
    "FeatureContract",
    "HeadContract",
    "LauncherContract",
    "LoggerContract",
    "LossContract",
    "MetricContract",
    "SourceContract",
    "WeighterContract",
    "example_batch",
    "example_label",
    "example_prediction",
    "example_requests",
    "example_schema",
    "example_steps",
    "example_target",
    "example_task",
]
