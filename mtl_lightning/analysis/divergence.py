"""Warning for tasks that overfit: the training loss falls while the validation metric worsens."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from mtl_lightning.distributed import reduce_sum, world_size
from mtl_lightning.interfaces import Step


class Divergence:
    """Counts, per task, consecutive validations in which training improves and validation worsens.

    Args:
        patience: Number of consecutive validations needed.

    Example:
        >>> divergence = Divergence(2)
        >>> [divergence.add("click", loss, value) for loss, value in ((0.7, 0.60), (0.6, 0.59), (0.5, 0.58))]
        [False, False, True]
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.last: dict[str, list[float]] = {}
        self.rows: dict[str, int] = {}

    def add(self, task: str, loss: float, value: float) -> bool:
        """Add a validation of a task.

        Args:
            task: The task.
            loss: Mean training loss since the last validation.
            value: Validation metric, higher is better.

        Returns:
            True when the count reaches ``patience``; once per sequence of such validations.
        """
        if math.isnan(loss) or math.isnan(value):
            return False
        before = self.last.get(task)
        self.last[task] = [loss, value]
        diverges = before is not None and loss < before[0] and value < before[1]
        self.rows[task] = self.rows.get(task, 0) + 1 if diverges else 0
        return self.rows[task] == self.patience


class DivergenceCallback(Callback):
    """Warns of tasks that diverge, by the metric of each task that enters the score.

    Args:
        patience: Number of consecutive validations before the warning.

    Example:
        ``Trainer(callbacks=[DivergenceCallback(2)])``
    """

    def __init__(self, patience: int = 2) -> None:
        self.divergence = Divergence(patience)
        self._sum: Tensor | None = None
        self._steps = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Observe the module's losses."""
        pl_module.observers.append(self._observe)  # type: ignore[union-attr, operator]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop observing."""
        pl_module.observers.remove(self._observe)  # type: ignore[union-attr, operator]

    def _observe(self, step: Step) -> None:
        losses = step.losses.detach().double()
        self._sum = losses if self._sum is None else self._sum.to(losses.device) + losses
        self._steps += 1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare with the previous validation; losses are averaged over all processes."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or self._sum is None:
            return
        means = (reduce_sum(self._sum) / (self._steps * trainer.world_size)).tolist()
        self._sum, self._steps = None, 0
        suite: Any = pl_module.suites["validation"]  # type: ignore[index]
        losses = dict(zip(pl_module.schema.task_index, means, strict=True))  # type: ignore[union-attr, arg-type]
        for task, metrics in suite.by_task().items():
            if not metrics:
                continue
            name, metric = next(iter(metrics.items()))
            value = float(trainer.callback_metrics.get(f"validation/{task}/{name}", torch.nan))
            signed = value if metric.higher_is_better else -value
            if self.divergence.add(task, losses[task], signed):
                rank_zero_warn(
                    f"{task} overfits: its training loss fell and its validation {name} worsened in "
                    f"{self.divergence.patience} validations in a row; train for fewer epochs (run.patience stops in "
                    "time), lower optimizer.table_lr, or raise encoder.dropout"
                )

    def state_dict(self) -> dict[str, Any]:
        """Values of the last validation, and the mean over processes of the summed losses since."""
        mean = None if self._sum is None else reduce_sum(self._sum) / world_size()
        return {"last": self.divergence.last, "rows": self.divergence.rows, "losses": mean, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.divergence.last, self.divergence.rows = state_dict["last"], state_dict["rows"]
        self._sum, self._steps = state_dict.get("losses"), state_dict.get("steps", 0)
