"""Cost of a training: time of a step by its parts, throughput, peak memory, parameters by part."""

import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from mtl_lightning.analysis.cost import batch_flops, state_bytes
from mtl_lightning.interfaces import Step
from mtl_lightning.training.sharded import table_size, updates

PARTS = ("data", "forward", "weighter", "backward", "optimizer")


class ResourcesCallback(Callback):
    """Times the parts of training steps. A clock reading costs about a microsecond.

    - ``data``: from the end of a step until the next batch is on its device, including logging.
    - ``forward``: until the losses are computed, including samples of the tasks' gradients.
    - ``weighter``: until the objective is computed, including the gradients per task that the weighter needs.
    - ``backward``: the backward pass.
    - ``optimizer``: exchange of table rows, gradient clipping and update.

    On a GPU, work is queued, so the times of parts are the times of queueing. Their sum is correct on average.

    Args:
        warm_up: Number of first steps that are not counted.

    Example:
        ``Trainer(callbacks=[resources := ResourcesCallback()])``; then ``resources.summary()``.
    """

    def __init__(self, warm_up: int = 3) -> None:
        self.warm_up = warm_up
        self.steps = 0
        self.rows = 0
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._warm_up_left = warm_up
        self._mark: float | None = None
        self._parameters: dict[str, int] = {}
        self._cuda = False
        self._updates = 0
        self._bytes = 0
        self._flops: int | None = None
        self._flops_rows = 0
        self._state_bytes: dict[str, int] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count parameters and observe the module's steps."""
        self._parameters = parameters_by_part(pl_module)
        self._cuda = pl_module.device.type == "cuda"
        pl_module.observers.append(self._end_forward)  # type: ignore[union-attr, operator]
        self._updates = -trainer.global_step
        self._bytes = -_exchanged(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop observing."""
        pl_module.observers.remove(self._end_forward)  # type: ignore[union-attr, operator]
        self._updates += trainer.global_step
        self._bytes += _exchanged(pl_module)
        self._state_bytes = state_bytes(pl_module, trainer.optimizers, trainer.datamodule)  # type: ignore[attr-defined]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exclude the time between epochs."""
        self._mark = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the operations of the first batch, and end the ``data`` part."""
        # In a step that is not timed.
        if self._flops is None and self._warm_up_left and _holds_all_weights(trainer, pl_module):
            with trainer.precision_plugin.forward_context():
                self._flops, self._flops_rows = batch_flops(pl_module, batch), len(batch)
        self._add("data")

    def _end_forward(self, step: Step) -> None:
        self._add("forward")

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        """End the ``weighter`` part."""
        self._add("weighter")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the ``backward`` part."""
        self._add("backward")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the ``optimizer`` part, and with it the step."""
        self._add("optimizer")
        if self._warm_up_left:
            self._warm_up_left -= 1
            return
        self.steps += 1
        self.rows += len(batch) * trainer.world_size

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exclude the time of a validation within an epoch."""
        self._mark = None

    def _add(self, part: str) -> None:
        now = time.perf_counter()
        if self._mark is not None and not self._warm_up_left:
            self.seconds[part] += now - self._mark
        self._mark = now

    def summary(self) -> dict[str, Any]:
        """Milliseconds per step and by part, samples per second, peak memory of the process in MB, parameters.

        - ``flops``: one forward and backward pass of the process's first batch, which has ``flops_rows`` rows; None if
          weights are sharded.
        - ``bytes``: see :func:`mtl_lightning.analysis.cost.state_bytes`.
        - ``table_bytes_per_update``: sent by the process in the exchange of table rows; 0 with one process.

        Example:
            >>> ResourcesCallback().summary()["step_ms"] is None
            True
        """
        total = sum(self.seconds.values())
        timed = self.steps > 0 and total > 0
        return {
            "steps": self.steps,
            "step_ms": 1e3 * total / self.steps if timed else None,
            "parts_ms": {part: 1e3 * seconds / self.steps for part, seconds in self.seconds.items()} if timed else None,
            "samples_per_second": self.rows / total if timed else None,
            "peak_memory_mb": peak_memory(),
            "peak_gpu_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if self._cuda else None,
            "parameters": self._parameters,
            "flops": self._flops,
            "flops_rows": self._flops_rows,
            "bytes": self._state_bytes,
            "table_bytes_per_update": self._bytes / self._updates if self._updates > 0 else None,
        }


def _holds_all_weights(trainer: Trainer, module: Any) -> bool:
    """True if every process holds all weights, so that the network can run outside of a step."""
    replicated = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
    return replicated and updates(module.network.encoder) is None


def _exchanged(module: Any) -> int:
    return int(module.bytes_exchanged)


def peak_memory() -> float:
    """Peak resident memory of the process, in MB (2^20 bytes).

    Example:
        >>> peak_memory() > 1
        True
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def parameters_by_part(module: Any) -> dict[str, int]:
    """Number of parameters of tables, encoder (without tables), architecture, heads, losses and weighter.

    Args:
        module: A :class:`~mtl_lightning.training.module.MultiTaskModule`.
    """
    network = module.network
    tables = sum(table.numel() for table in network.encoder.table_parameters())  # 0 if the encoder shards its tables
    parts: Mapping[str, Any] = {
        "encoder": network.encoder,
        "architecture": network.architecture,
        "heads": network.heads,
        "losses": network.criteria,
        "weighter": module.weighter,
    }
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    counts["encoder"] -= tables
    return {"tables": table_size(network.encoder), **counts}
