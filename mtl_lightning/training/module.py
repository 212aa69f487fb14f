"""Lightning module: optimisation, logging and evaluation, without any method by name."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning import markup
from mtl_lightning.batch import Batch
from mtl_lightning.distributed import reduce_mean
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Step as StepProtocol
from mtl_lightning.interfaces import TaskMetric, Weighter
from mtl_lightning.metrics.suite import MetricSuite
from mtl_lightning.training import optimizer as optim
from mtl_lightning.training.average import WeightAverage
from mtl_lightning.training.exchange import RowExchange
from mtl_lightning.training.late import send
from mtl_lightning.training.network import Network, full_precision
from mtl_lightning.training.optimizer import OptimizerConfig, gradients_of
from mtl_lightning.training.parameter_step import gradient_parameters, make_step
from mtl_lightning.training.redraw import check_redraw, redraw_tables
from mtl_lightning.training.schedule import check_end
from mtl_lightning.training.sharded import distribute, updates
from mtl_lightning.training.skipped import SkippedSteps
from mtl_lightning.training.step import global_counts, step_generator
from mtl_lightning.training.tables import broadcast_table

SPLITS = ("validation", "test")
"""Splits that are evaluated."""


class MultiTaskModule(LightningModule):
    """A multi-task model with its weighter, optimizer and metrics, for Lightning's automatic optimisation.

    Args:
        network: Encoder, architecture and heads.
        weighter: Weighter, which combines the losses of the tasks into one objective.
        optimizer: Options of the optimizer; None for the defaults of :class:`OptimizerConfig`.
        metrics: Metrics per task, which are copied per split; the first metric of each task counts in the score.
        seed: Seed of the weighter's random numbers.
        skip_nonfinite: Number of consecutive steps with non-finite gradients after which training stops.
        config: Resolved configuration as plain containers, which is saved with checkpoints.

    Raises:
        MtlError: While training, if gradients stay non-finite.

    Example:
        ``Trainer(max_epochs=1).fit(build_module(data.schema), datamodule=data)``
    """

    def __init__(
        self,
        network: Network,
        weighter: Weighter,
        *,
        optimizer: OptimizerConfig | None = None,
        metrics: Mapping[str, Mapping[str, TaskMetric]] | None = None,
        seed: int = 0,
        skip_nonfinite: int = 10,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.weighter = weighter
        self.schema = network.schema
        self.optimizer_config = optimizer or OptimizerConfig()
        self.suites = nn.ModuleDict({split: MetricSuite(self.schema, metrics or {}) for split in SPLITS})
        self.seed = seed
        self.config = dict(config or {})
        network.keep_shared = weighter.gradients_at == "shared"
        if network.keep_shared and network.compiled:  # one node of the graph: nothing within is reached
            raise MtlError(
                "weighter.gradients_at: shared reads tensors within the trunk", "set optimizer.compile: false"
            )
        self._gradient_at = gradient_parameters(network, network.encoder.table_parameters(), weighter.gradients_at)
        self.observers: list[Callable[[StepProtocol], None]] = []
        self.batches = 0
        self._skipped = SkippedSteps(skip_nonfinite, tuple(self.schema.task_index))
        self.bytes_exchanged = 0
        self._exchange = RowExchange(self.optimizer_config.exchange_group, self.optimizer_config.exchange_values)
        self._values: Tensor | None = None
        self._auxiliary: dict[str, Tensor] = {}
        self._norm = torch.zeros(())
        self._batch: Batch | None = None
        self._stepped = False
        self._average: WeightAverage | None = None
        self._saved_average: tuple[dict[str, Tensor], int] | None = None
        self._drawn_in = self._saved_draw = 0
        if self.optimizer_config.redraw_tables:
            check_redraw(network.encoder)
        tables = {id(table) for table in network.encoder.table_parameters()}
        # DDP reads this attribute. Tables have sparse gradients, which not every backend reduces (see tables.py).
        # Buffers are equal by construction; a broadcast in forward would hang if processes evaluate unequal batches.
        self._ddp_params_and_buffers_to_ignore = [
            *(name for name, parameter in self.named_parameters() if id(parameter) in tables),
            *(name for name, _ in self.named_buffers()),
        ]

    @override
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the predictions per task, [B], or [B, K] for several classes."""
        predictions: dict[str, Tensor] = self.network(batch)
        return predictions

    @override
    def configure_model(self) -> None:
        """Distribute the tables of a sharded encoder; processes exist by now, and no weights are loaded yet."""
        distribute(self.network.encoder, self.trainer.strategy.root_device, self.optimizer_config)

    def _repr_html_(self) -> str:
        """Parts of the model with their classes and numbers of parameters, for notebooks."""
        network = self.network
        parts: dict[str, nn.Module] = {f"head of {task}": head for task, head in network.heads.items()}
        parts = {"encoder": network.encoder, "architecture": network.architecture, **parts, "weighter": self.weighter}
        counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}
        rows = [[name, type(part).__name__, f"{counts[name]:,}"] for name, part in parts.items()]
        return markup.fragment(type(self).__name__, markup.table(["part", "class", "parameters"], rows))

    @property
    def skipped(self) -> int:
        """Number of steps that were skipped because their gradients were not finite, equal on all processes."""
        return self._skipped.total

    # training

    @override
    def on_fit_start(self) -> None:
        """Check the schedule, give all processes the same tables, and start or continue the average of weights."""
        check_end(self.optimizer_config.schedule, self.trainer.max_epochs, self.trainer.max_steps)
        for table in self.network.encoder.table_parameters():
            broadcast_table(table)
        self._drawn_in, self._saved_draw = self._saved_draw, 0
        saved, self._saved_average = self._saved_average, None
        if self.optimizer_config.average_decay > 0:
            self._average = WeightAverage(self.dense_parameters(), self.optimizer_config.average_decay)
            if saved is not None:
                self._average.restore(*saved)

    @override
    def on_train_epoch_end(self) -> None:
        """Count the last steps, so that a training whose gradients are not finite ends with an error."""
        self._skipped.count_pending()

    @override
    def on_fit_end(self) -> None:
        """Keep the averaged weights, if there are any; a later fit starts from them."""
        average, self._average = self._average, None
        if average is not None:
            average.swap()

    @override
    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw the tables anew in an epoch after the first; Lightning starts no epoch where it resumes one."""
        if self.optimizer_config.redraw_tables and self._drawn_in < self.current_epoch:
            self._drawn_in = self.current_epoch
            inner = self.trainer.optimizers[0].optimizers  # type: ignore[attr-defined]
            redraw_tables(self.network.encoder, inner, seed=self.seed, epoch=self.current_epoch)

    @override
    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the weighter's objective, a scalar."""
        preference = self.weighter.choose_preference(step_generator(self.seed, self.batches))
        if preference is not None:
            batch = batch.preferring(send(preference, batch.dense.device))
        objectives = self.network.objectives(batch, global_counts(batch), joint=not self._gradient_at)
        names = tuple(self.schema.task_index)
        # Inner products in bfloat16 may form a Gramian that no set of gradients has.
        with full_precision(objectives.seam[0]):
            step = make_step(
                objectives.losses,
                objectives.seam,
                self._gradient_at,
                tasks=names,
                index=self.batches,
                seed=self.seed,
                apart=objectives.apart,
            )
            for observe in self.observers:
                observe(step)
            objective: Tensor = self.weighter(step)
            for value, weight in objectives.auxiliary.values():
                objective = objective + weight * value
        self._auxiliary = {name: value.detach() for name, (value, _) in objectives.auxiliary.items()}
        self.batches, self._values = self.batches + 1, step.losses.detach()
        self._batch = batch if self.weighter.needs_losses_after_step else None
        return objective

    @override
    def on_after_backward(self) -> None:
        """Exchange table rows if an update follows, before fp16's scaler checks whether gradients are finite."""
        if not self.trainer.fit_loop._should_accumulate():
            for table in self.network.encoder.table_parameters():
                self.bytes_exchanged += self._exchange(table)

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update the weights, then give the weighter the losses after the update if it needs them.

        This is part of the step, because callbacks save the weighter's state at the end of the batch.
        """
        super().optimizer_step(*args, **kwargs)
        self._stepped = True
        if self._average is not None:
            self._average.update()
        batch, self._batch = self._batch, None
        if batch is not None:
            with torch.no_grad(), self.trainer.precision_plugin.train_step_context():
                losses, _ = self.network.losses(batch, global_counts(batch))
            self.weighter.after_step(reduce_mean(torch.stack(losses)))

    @override
    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Skip the update on every process if any gradient is not finite."""
        self._norm = optim.gradient_norm(gradients_of(optimizer))
        assert self._values is not None
        if self._skipped.check(optimizer, self._norm, self._values):
            for parameter in self.parameters():
                parameter.grad = None

    @override
    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip dense and sparse gradients by their joint norm, or by value."""
        if gradient_clip_val and (gradients := gradients_of(optimizer)):
            optim.clip_gradients(gradients, self._norm, float(gradient_clip_val), gradient_clip_algorithm or "norm")

    @override
    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log losses and weights at the Trainer's interval."""
        stepped, self._stepped = self._stepped, False
        # Logging every step would cost more than a small step itself.
        interval = getattr(self.trainer, "log_every_n_steps", 50)
        if stepped and interval and self.trainer.global_step % interval == 0:
            self._log_training()

    def _log_training(self) -> None:
        assert self._values is not None
        kind = self._values.dtype
        small = torch.cat([self._values, *(value.to(kind).view(1) for value in self._auxiliary.values())])
        values = reduce_mean(small).tolist()
        losses, auxiliary = values[: len(self._values)], values[len(self._values) :]
        record = {f"train/loss/{name}": losses[i] for name, i in self.schema.task_index.items()}
        record |= {f"train/auxiliary/{name}": value for name, value in zip(self._auxiliary, auxiliary, strict=True)}
        record |= {f"train/weight/{name}": weight for name, weight in self.weighter.report().items()}
        record["train/gradient_norm"] = float(self._norm)
        record["train/skipped_steps"] = float(self.skipped)
        for i, group in enumerate(self.trainer.optimizers[0].param_groups):
            record[f"train/lr/{i}"] = group["lr"]
        for logger in self.trainer.loggers:
            logger.log_metrics(record, step=self.trainer.global_step)
        self.log("loss", sum(losses), prog_bar=True, logger=False, batch_size=1)

    # evaluation

    @override
    def validation_step(self, batch: Batch, index: int) -> None:
        self._evaluate("validation", batch)

    @override
    def test_step(self, batch: Batch, index: int) -> None:
        self._evaluate("test", batch)

    @override
    def predict_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        return self.forward(batch)

    def _evaluate(self, split: str, batch: Batch) -> None:
        outputs, _ = self.network.outputs(batch)
        suite: MetricSuite = self.suites[split]  # type: ignore[assignment]
        suite.update(*self.network.measured(outputs, batch))

    def _finish(self, split: str) -> None:
        suite: MetricSuite = self.suites[split]  # type: ignore[assignment]
        record = {f"{split}/{name}": value for name, value in suite.compute().items()}
        suite.reset()
        # The values are reduced over processes already: sync_dist averages equal numbers and avoids a warning.
        self.log_dict(record, sync_dist=True)

    @override
    def on_validation_epoch_start(self) -> None:
        """Evaluate the averaged weights, if there are any."""
        if self._average is not None:
            self._average.swap()

    @override
    def on_validation_epoch_end(self) -> None:
        if self._average is not None:
            self._average.swap()
        self._finish("validation")

    @override
    def on_test_epoch_end(self) -> None:
        self._finish("test")

    # optimisation and state

    def dense_parameters(self) -> dict[str, nn.Parameter]:
        """Return the trained parameters of the network by their names in ``state_dict``, tables excluded."""
        tables = {id(table) for table in self.network.encoder.table_parameters()}
        named = self.network.named_parameters(prefix="network")
        return {name: p for name, p in named if id(p) not in tables and p.requires_grad}

    @override
    def configure_optimizers(self) -> Any:
        """Return a composite optimizer, with a scheduler that steps with it unless the rate is constant."""
        config = self.optimizer_config
        tables, shards = self.network.encoder.table_parameters(), updates(self.network.encoder)
        dense = self.dense_parameters().values()
        optimizer = optim.build_optimizer(config, dense, list(self.weighter.parameters()), tables, shards)
        scheduler = optim.build_scheduler(config, optimizer, self._total_steps)
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _total_steps(self) -> int:
        # Called in training only: earlier, Lightning would set up the loader and never restore its saved state.
        return int(self.trainer.estimated_stepping_batches)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add counters, schema and configuration to a checkpoint.

        With averaged weights, ``state_dict`` holds the averages, so that every reader of weights has them. The weights
        that the optimizer updates are added where training is to be resumed.
        """
        checkpoint["mtl_lightning"] = {
            "batches": self.batches,
            "skipped": self.skipped,
            "schema": self.schema.to_dict(),
            "config": self.config,
        }
        if self.optimizer_config.redraw_tables:
            checkpoint["mtl_lightning"]["tables_drawn_in"] = self._drawn_in
        if self._average is not None:
            checkpoint["state_dict"] = {**checkpoint["state_dict"], **self._average.averages}
            if "optimizer_states" in checkpoint:
                trained = {"weights": self._average.weights, "updates": self._average.updates}
                checkpoint["mtl_lightning"]["trained"] = trained

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters; where training is resumed, also the weights that the optimizer updates.

        Raises:
            MtlError: If the checkpoint has another schema.
        """
        state = checkpoint["mtl_lightning"]
        if state["schema"] != self.schema.to_dict():
            raise MtlError("the checkpoint was made with other fields or tasks", "use the run's own data and recipe")
        self.batches, self._skipped.total = state["batches"], state["skipped"]
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._saved_draw = state.get("tables_drawn_in", 0)
        if "trained" in state and self.trainer.state.fn == TrainerFn.FITTING:
            weights, averages = state["trained"]["weights"], checkpoint["state_dict"]
            self._saved_average = {name: averages[name] for name in weights}, state["trained"]["updates"]
            checkpoint["state_dict"] = {**averages, **weights}
