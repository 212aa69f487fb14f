"""Network of encoder, architecture and heads: a plain module that can be exported."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch
from typing_extensions import override

from mtl_lightning.batch import Batch, Encoded, Output, Target
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Architecture, Encoder, Head, Loss
from mtl_lightning.schema import Schema, Task
from mtl_lightning.training.joint import joint_losses, joint_outputs, separate


def full_precision(like: Tensor) -> AbstractContextManager[Any]:
    """Return a context without mixed precision on the device of a tensor; a null context if it is not enabled."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


@dataclass(slots=True, kw_only=True)
class Objectives:
    """The objectives of a training step.

    Args:
        losses: This process's losses with graph, T scalars, or [T] if they were computed side by side.
        seam: z [B, D], or the tensors that tasks share last.
        auxiliary: Per auxiliary objective of the encoder its value on this process, with graph, and its weight. The
            mean of the values over processes is the mean over the rows of the global batch.
        apart: For each loss the tensor that it alone depends on and that all its paths from the seam cross; or none.
    """

    losses: Sequence[Tensor] | Tensor
    seam: tuple[Tensor, ...]
    auxiliary: dict[str, tuple[Tensor, float]]
    apart: tuple[Tensor, ...] = ()


class Network(nn.Module):
    """The model of a run.

    With mixed precision, the encoder and the architecture, which take most of the time, run in half precision. Heads,
    losses and predictions run in float32. A label of 100,000 is infinite in float16, and the three digits of bfloat16
    are too few for products of small probabilities.

    Args:
        schema: Fitted schema, with tasks after their parents.
        encoder: Batch → z [B, D].
        architecture: z → {task: h [B, H]}.
        heads: Head per task.
        losses: Loss per task.

    Raises:
        MtlError: If the name of a task cannot be the name of a module.

    Example:
        See :func:`mtl_lightning.build.build_network`, which builds a network from names.
    """

    compiled: bool = False
    """True to run architecture and heads through ``torch.compile`` in training; batch sizes in evaluation vary."""

    keep_shared: bool = False
    """True if :meth:`losses` must return the tensors that tasks share last as the seam; other passes store nothing."""

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        architecture: Architecture,
        heads: Mapping[str, Head],
        losses: Mapping[str, Loss],
    ) -> None:
        super().__init__()
        for task in schema.tasks:
            if hasattr(nn.ModuleDict, task.name) or not task.name.isidentifier():
                raise MtlError(f"a task can't be called {task.name!r}", "choose another identifier")
        self.schema = schema
        self.encoder = encoder
        self.architecture = architecture
        self.heads = nn.ModuleDict(heads)
        self.criteria = nn.ModuleDict(losses)

    def head(self, task: str) -> Head:
        """Return the head of a task."""
        return cast(Head, self.heads[task])

    def criterion(self, task: str) -> Loss:
        """Return the loss of a task."""
        return cast(Loss, self.criteria[task])

    def outputs(self, batch: Batch) -> tuple[dict[str, Output], Tensor]:
        """Return the output of each task, and the seam z [B, D]."""
        encoded = self._encode(batch)
        dense = self._compiled_dense if self.compiled and self.training else self._dense
        return dense(encoded, batch.raw, torch.is_autocast_enabled(encoded.z.device.type)), encoded.z

    def _encode(self, batch: Batch) -> Encoded:
        encoded: Encoded = self.encoder(batch if self.encoder.reads_requests else batch.expand())
        return encoded

    def _dense(self, encoded: Encoded, raw: Mapping[str, Tensor], halved: bool) -> dict[str, Output]:
        representations = self.architecture(encoded)
        if not halved:
            return self._heads(representations, raw)
        with torch.autocast(encoded.z.device.type, enabled=False):
            return self._heads({task: h.float() for task, h in representations.items()}, raw)

    def _joint(self, batch: Batch) -> tuple[dict[str, Output], Tensor, dict[str, Tensor]]:
        """Outputs, z and representations; heads of equal shape are computed together."""
        encoded = self._encode(batch)
        halved = torch.is_autocast_enabled(encoded.z.device.type)
        named = self.architecture(encoded)
        ordered = {task.name: named[task.name].float() if halved else named[task.name] for task in self.schema.tasks}
        representations = separate(ordered)
        with full_precision(encoded.z):
            return joint_outputs(self.heads, representations, batch.raw), encoded.z, representations

    def _heads(self, representations: Mapping[str, Tensor], raw: Mapping[str, Tensor]) -> dict[str, Output]:
        outputs: dict[str, Output] = {}
        for task in self.schema.tasks:
            parents = {name: outputs[name] for name in task.parents}
            outputs[task.name] = self.heads[task.name](representations[task.name], parents, raw)
        return outputs

    @cached_property
    def _compiled_dense(self) -> Callable[[Encoded, Mapping[str, Tensor], bool], dict[str, Output]]:
        # Weighters take gradients of single tasks before the backward of the objective: buffers must not be donated.
        functorch.donated_buffer = False
        compiled: Callable[[Encoded, Mapping[str, Tensor], bool], dict[str, Output]] = torch.compile(self._dense)
        return compiled

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled_dense"}

    def targets(self, batch: Batch, counts: Tensor | None = None) -> dict[str, Target]:
        """Return the target of each task.

        Args:
            batch: Batch with labels.
            counts: Global counts [T + 1] of :func:`mtl_lightning.training.step.global_counts`, or None.
        """
        return {
            task.name: Target(
                label=batch.label(task.name),
                mask=batch.known(task.name),
                weight=batch.task_weight(task.name),
                count=None if counts is None else counts[i],
                rows=None if counts is None else counts[-1],
                group=batch.group,
                raw=batch.raw,
            )
            for i, task in enumerate(self.schema.tasks)
        }

    def losses(self, batch: Batch, counts: Tensor | None = None) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """Return this process's losses with their graph, T scalars, and the seam.

        The seam is z [B, D], or the last tensors [B, …] that tasks share if ``keep_shared`` is set and the architecture
        declares them.

        Args:
            batch: Batch with labels.
            counts: Global counts [T + 1] of :func:`mtl_lightning.training.step.global_counts`, or None.
        """
        objectives = self.objectives(batch, counts)
        return list(objectives.losses), objectives.seam

    def objectives(self, batch: Batch, counts: Tensor | None = None, *, joint: bool = False) -> Objectives:
        """Return what :meth:`losses` does, and the encoder's auxiliary objectives.

        Args:
            batch: Batch with labels.
            counts: Global counts [T + 1] of :func:`mtl_lightning.training.step.global_counts`, or None.
            joint: Compute heads and losses that are alike together where no task reads its parents. Then losses share
                parts of the graph between the representations and themselves.
        """
        joint = joint and counts is not None and not self.compiled
        joint = joint and not any(self._reads_parents(task) for task in self.schema.tasks)
        self.architecture.keep_shared = self.keep_shared
        representations: dict[str, Tensor] = {}
        try:
            if joint:
                outputs, z, representations = self._joint(batch)
            else:
                outputs, z = self.outputs(batch)
        finally:
            self.architecture.keep_shared = False
        targets = self.targets(batch, counts)
        with full_precision(z):
            values = self._losses(outputs, targets, batch, counts if joint else None)
        # The architecture's penalty is divided equally among tasks. It is removed, since copies cannot hold a graph.
        penalty, self.architecture.penalty = self.architecture.penalty, None
        target = targets[self.schema.tasks[0].name]
        if penalty is not None:
            values = [value + target.row_mean(penalty) / len(values) for value in values]
        apart = tuple(representations.values())
        if penalty is not None or not all(h.requires_grad for h in apart):
            apart = ()
        shared, self.architecture.shared = self.architecture.shared, ()
        auxiliary, self.encoder.auxiliary = self.encoder.auxiliary, {}
        means = {name: (target.row_mean(part.values), part.weight) for name, part in auxiliary.items()}
        return Objectives(losses=values, seam=shared or (z,), auxiliary=means, apart=apart)

    def _reads_parents(self, task: Task) -> bool:
        alone = self.head(task.name).alike() is not None and self.criterion(task.name).alike() is not None
        return bool(task.parents) and not alone

    def _losses(
        self, outputs: Mapping[str, Output], targets: Mapping[str, Target], batch: Batch, counts: Tensor | None
    ) -> Sequence[Tensor] | Tensor:
        joint = {} if counts is None else joint_losses(self.criteria, outputs, targets, batch, counts)
        if isinstance(joint, Tensor):
            return joint
        tasks = self.schema.tasks
        return [joint[t.name] if t.name in joint else self._loss(t, outputs, targets) for t in tasks]

    def _loss(self, task: Task, outputs: Mapping[str, Output], targets: Mapping[str, Target]) -> Tensor:
        output, target = outputs[task.name], targets[task.name]
        parents = {name: (outputs[name], targets[name]) for name in task.parents}
        loss: Tensor = self.criteria[task.name](output, target, parents)
        return loss if output.penalty is None else loss + target.row_mean(output.penalty)

    def predict(self, outputs: Mapping[str, Output], batch: Batch) -> dict[str, Tensor]:
        """Return the predictions of outputs per task, [B], or [B, K] for several classes."""
        with full_precision(batch.dense):
            return {name: self.head(name).predict(output, batch.raw) for name, output in outputs.items()}

    def measured(self, outputs: Mapping[str, Output], batch: Batch) -> tuple[dict[str, Tensor], dict[str, Target]]:
        """Return the predictions of outputs and the targets with the heads' details, per task, for metrics."""
        targets = self.targets(batch)
        with full_precision(batch.dense):
            for name, output in outputs.items():
                targets[name].details = self.head(name).details(output, batch.raw)
        return self.predict(outputs, batch), targets

    @override
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the predictions per task, [B], or [B, K] for several classes."""
        return self.predict(self.outputs(batch)[0], batch)
