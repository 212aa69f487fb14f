"""Relations of tasks observed during evaluations: labels, predictions, use of experts."""

from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mtl_lightning.analysis.gates import GateUse
from mtl_lightning.analysis.moments import PairMoments
from mtl_lightning.batch import Batch, Output


class OutputRelations(Callback):
    """Correlations of labels and of predictions, and gate weights, on the rows of validations and tests.

    Labels are compared on rows where both are known, predictions on all rows. Tasks with several values per row
    (unordered classes, several labels) have no single correlation and are left out. The rows of all processes count.
    Outputs are read by hooks on the heads that exist only during evaluations, so training has no overhead.

    Example:
        ``Trainer(callbacks=[relations := OutputRelations()])``; after an evaluation,
        ``relations.summary["validation"]``.
    """

    def __init__(self) -> None:
        self.summary: dict[str, dict[str, Any]] = {}
        self.tasks: tuple[str, ...] = ()
        self._labels = self._predictions = PairMoments(())
        self._gates = GateUse()
        self._outputs: dict[str, Output] = {}
        self._hooks: list[Any] = []
        self._kept_gates = False

    def _start(self, module: Any) -> None:
        self.tasks = tuple(task.name for task in module.schema.tasks if task.traits.scalar)
        self._labels, self._predictions = PairMoments(self.tasks), PairMoments(self.tasks)
        self._gates = GateUse()
        for name, head in module.network.heads.items():
            self._hooks.append(head.register_forward_hook(partial(self._keep, name)))
        self._kept_gates = module.network.architecture.keep_gates
        module.network.architecture.keep_gates = True

    def _keep(self, name: str, _head: Any, _inputs: Any, output: Output) -> None:
        self._outputs[name] = output

    def _stop(self, module: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._outputs = [], {}
        module.network.architecture.keep_gates = self._kept_gates
        if not self._kept_gates:
            module.network.architecture.gates = {}

    def _add(self, module: Any, batch: Batch) -> None:
        outputs, self._outputs = self._outputs, {}
        self._gates.update(module.network.architecture.gates)
        if not self.tasks:
            return
        labels = torch.cat([batch.label(task) for task in self.tasks], dim=1)
        self._labels.update(labels, torch.stack([batch.known(task) for task in self.tasks], dim=1))
        predicted = (module.network.head(task).predict(outputs[task], batch.raw) for task in self.tasks)
        predictions = torch.stack([values.reshape(len(batch)) for values in predicted], dim=1)
        self._predictions.update(predictions, torch.ones_like(predictions, dtype=torch.bool))

    def _finish(self, split: str, module: Any) -> None:
        self._stop(module)
        self.summary[split] = {
            "labels": self._labels.reduced(module.device).summary(),
            "predictions": self._predictions.reduced(module.device).summary(),
            "gates": self._gates.reduced().summary(),
        }

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register hooks."""
        self._start(pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch."""
        self._add(pl_module, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Summarise over processes; a collective."""
        self._finish("validation", pl_module)

    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Summarise over processes; a collective."""
        self._finish("test", pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the hooks."""
        if self._hooks:
            self._stop(pl_module)
