"""Heads and losses side by side give what each gives alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close

from mtl_lightning.architectures.example import example
from mtl_lightning.batch import Batch
from mtl_lightning.build import build_network
from mtl_lightning.heads.binary import BinaryHead
from mtl_lightning.interfaces import Loss
from mtl_lightning.losses.linked import LinkedLoss
from mtl_lightning.losses.mse import MeanSquaredError
from mtl_lightning.schema import Schema, Task
from mtl_lightning.training.network import Network, Objectives
from mtl_lightning.training.step import Step, global_counts

EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14}
SMOOTH = {"name": "bce", "smoothing": 0.1}
CASES: dict[str, tuple[list[Task], dict[str, Any], dict[str, Any]]] = {
    "alike": ([Task(name=name, kind="binary", label=name) for name in "abcd"], {}, {}),
    "interleaved": (
        [
            Task(name="a", kind="binary", label="a"),
            Task(name="b", kind="regression", label="b", mean=0.5, scale=2.0),
            Task(name="c", kind="binary", label="c", parents=("a",)),
            Task(name="d", kind="regression", label="d"),
        ],
        {},
        {"d": {"name": "huber", "delta": 0.3}},
    ),
    "others between": (
        [Task(name=name, kind="count" if name == "b" else "binary", label=name) for name in "abcd"],
        {"d": {"name": "binary", "hidden": [8, 4]}},
        {"a": SMOOTH, "c": SMOOTH},
    ),
}
"""Tasks, heads and losses."""


def network_and_batch(case: str, architecture: str, weighted: bool) -> tuple[Network, Batch]:
    plain, _, batch = example(tasks=4, rows=12)
    tasks, heads, losses = CASES[case]
    schema = Schema(plain.fields, tuple(tasks))
    torch.manual_seed(0)
    network = build_network(schema, architecture=architecture, heads=heads, losses=losses).double().train()
    batch = batch.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    batch.schema = schema
    batch.mask[:, 1] &= torch.arange(12) % 3 > 0
    batch.mask[:, 3] = False  # no label at all
    batch.labels[~batch.mask] = 0
    batch.weight = torch.rand(12, 4, dtype=torch.float64) if weighted else None
    return network, batch


def gradients(network: Network, objective: Tensor) -> list[Tensor]:
    network.zero_grad()
    objective.backward()
    empty = torch.zeros(())
    values = [empty if parameter.grad is None else parameter.grad for parameter in network.parameters()]
    return [value.to_dense() if value.is_sparse else value for value in values]


def step_of(objectives: Objectives) -> Step:
    return Step(objectives.losses, objectives.seam, tasks=tuple("abcd"), index=0, seed=0, apart=objectives.apart)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("architecture", "weighted"), [("mmoe", False), ("shared_bottom", True), ("dbmtl", True)])
def test_losses_and_gradients_are_those_of_tasks_alone(case: str, architecture: str, weighted: bool) -> None:
    network, batch = network_and_batch(case, architecture, weighted)
    counts = global_counts(batch)
    alone, joint = (step_of(network.objectives(batch, counts, joint=joint)) for joint in (False, True))
    assert len(joint.apart) == 4, "tasks are apart"
    assert not alone.apart
    assert_close(joint.losses, alone.losses, **EXACT)
    assert_close(joint.jacobian, alone.jacobian, **EXACT)
    factors = torch.tensor([1.0, 2.0, 0.5, 3.0])
    ours, expected = (gradients(network, (factors * step.losses).sum()) for step in (joint, alone))
    for value, other in zip(ours, expected, strict=True):
        assert_close(value, other.expand_as(value), **EXACT)


def test_a_head_that_is_watched_or_changed_computes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = network_and_batch("alike", "mmoe", weighted=False)
    seen: list[str] = []
    hook = network.heads["a"].register_forward_hook(lambda *_: seen.append("a"))
    network.objectives(batch, global_counts(batch), joint=True)
    assert seen == ["a"]
    hook.remove()

    class Doubled(BinaryHead):
        def forward(self, *arguments: Any) -> Any:
            seen.append("doubled")
            return super().forward(*arguments)

    network.heads["b"].__class__ = Doubled
    network.objectives(batch, global_counts(batch), joint=True)
    assert seen == ["a", "doubled"]


class Uneven(LinkedLoss):
    """A loss that keeps its option for itself."""

    def __init__(self, task: Task, under: float) -> None:
        super().__init__(task)
        self._under = under

    def cost(self, error: Tensor) -> Tensor:
        return torch.where(error < 0, self._under, 1.0) * error.square()


class Nested(LinkedLoss):
    """A loss whose option is in a module."""

    def __init__(self, task: Task, factor: float) -> None:
        super().__init__(task)
        self.inner = nn.Threshold(-factor, factor)

    def cost(self, error: Tensor) -> Tensor:
        return self.inner(error)


class QuarticError(MeanSquaredError):
    """A subclass with a cost of its own."""

    def __init__(self, task: Task, _: float) -> None:
        super().__init__(task)

    def cost(self, error: Tensor) -> Tensor:
        return error**4


@pytest.mark.parametrize("kind", [Uneven, Nested, QuarticError])
def test_losses_of_plugins_keep_their_options_and_costs(kind: Any) -> None:
    network, batch = network_and_batch("interleaved", "mmoe", weighted=True)
    chosen: dict[str, Loss] = {task: kind(network.schema.task(task), factor) for task, factor in (("b", 1), ("d", 5))}
    network.criteria.update(chosen)
    counts = global_counts(batch)
    losses = network.objectives(batch, counts, joint=True).losses
    outputs, targets = network.outputs(batch)[0], network.targets(batch, counts)
    for place, task in ((1, "b"), (3, "d")):
        error = targets[task].known(outputs[task].logit - chosen[task].label(outputs[task], targets[task]))
        assert_close(losses[place], targets[task].mean(chosen[task].cost(error)[:, 0]), **EXACT)


def changed_norm(network: Network) -> None:
    for head in network.heads.values():
        parametrizations.weight_norm(head.tower.output).parametrizations.weight.original0.data.mul_(2)


def changed_weights(network: Network) -> None:
    for head in network.heads.values():
        prune.l1_unstructured(head.tower.output, "weight", amount=0.5)


def changed_bias(network: Network) -> None:
    for head in network.heads.values():
        head.tower.output.register_parameter("bias", None)


def changed_loss(network: Network) -> None:
    network.criteria["b"].register_forward_hook(lambda _, __, loss: 3 * loss)


@pytest.mark.parametrize("change", [changed_norm, changed_weights, changed_bias, changed_loss])
def test_changed_towers_and_losses_compute_alone(change: Any) -> None:
    network, batch = network_and_batch("alike", "mmoe", weighted=False)
    change(network)
    alone, joint = (network.objectives(batch, global_counts(batch), joint=joint).losses for joint in (False, True))
    assert_close(torch.stack(list(joint)), torch.stack(list(alone)), **EXACT)


def test_losses_of_tasks_that_read_their_parents_keep_their_own_graphs() -> None:
    tasks = [Task(name="a", kind="binary", label="a"), Task(name="b", kind="binary", label="b")]
    tasks.append(Task(name="c", kind="binary", label="c", parents=("a",)))
    plain, _, batch = example(tasks=3, rows=12)
    network = build_network(Schema(plain.fields, tuple(tasks)), heads={"c": "esmm"}).train()
    batch.schema = network.schema
    objectives = network.objectives(batch, global_counts(batch), joint=True)
    assert objectives.apart == ()
    towers = list(network.heads["b"].parameters())
    assert all(g is None for g in torch.autograd.grad(objectives.losses[0], towers, allow_unused=True))
