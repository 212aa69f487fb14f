"""Training steps on the stand-in for a device, and what passes between it and the host meanwhile."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_module
from mtl_lightning.schema import Schema
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.transfer import send_batch
from tests.support.remote_device import DEVICE, Remote, RemoteDevice, Traffic, remote


def build(schema: Schema, *, on_device: bool, **parts: Any) -> MultiTaskModule:
    """A module on the stand-in or on the CPU; ``parts`` go to :func:`mtl_lightning.build.build_module`."""
    torch.manual_seed(0)
    module = build_module(schema, **parts)
    if not on_device:
        return module
    remote(module)
    # Its parameters are new objects now, which moving a real module never makes.
    moved = MultiTaskModule(module.network, module.weighter, optimizer=module.optimizer_config, seed=module.seed)
    moved.suites = module.suites
    return moved


def train(module: MultiTaskModule, batches: Iterable[Batch], clip: float | None = None) -> Traffic:
    """Take a step per batch, as Lightning does; return the traffic of the last step."""
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        fit_loop=SimpleNamespace(_should_accumulate=lambda: False),
        precision_plugin=SimpleNamespace(train_step_context=nullcontext),
    )
    on_device = any(isinstance(parameter.data, Remote) for parameter in module.parameters())
    device = DEVICE if on_device else next(module.parameters()).device
    with RemoteDevice() if on_device else nullcontext(Traffic()) as traffic:
        optimizer = module.configure_optimizers()
        module.train()
        for batch in batches:
            traffic.clear()
            sent = send_batch(batch, device, training=True)
            module.optimizer_step(0, 0, optimizer, partial(_closure, module, optimizer, sent, clip))
        return Traffic(**{part.name: getattr(traffic, part.name).copy() for part in fields(traffic)})


def _closure(module: MultiTaskModule, optimizer: Any, batch: Batch, clip: float | None) -> torch.Tensor:
    objective = module.training_step(batch, 0)
    optimizer.zero_grad(set_to_none=True)
    objective.backward()
    module.on_after_backward()
    module.on_before_optimizer_step(optimizer)
    module.configure_gradient_clipping(optimizer, clip)
    return objective
