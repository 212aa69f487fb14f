"""The contract of losses."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from mtl_lightning.batch import Output, Target
from mtl_lightning.interfaces import Loss
from mtl_lightning.plugins import registry
from mtl_lightning.task_kinds import TASK_KINDS, task_kind
from mtl_lightning.testing.component import ComponentContract, check_reaches, restored
from mtl_lightning.testing.example import example_target, perfect_prediction
from mtl_lightning.testing.head import ROWS, Funnel
from mtl_lightning.testing.metric import take


class Case:
    """A loss over the outputs of a head."""

    def __init__(self, loss: Loss, funnel: Funnel, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.loss = loss.to(dtype)
        self.funnel = funnel
        for head in (funnel.head, *funnel.parents.values()):
            head.to(dtype)
        self.h = funnel.h = funnel.h.detach().to(dtype).requires_grad_()
        self.targets = {task.name: self.target(task.name, i) for i, task in enumerate(funnel.parent_tasks)}
        self.targets[funnel.task.name] = self.target(funnel.task.name, 9)

    def target(self, name: str, seed: int) -> Target:
        """A task's target, with the raw columns that the heads see."""
        tasks = {task.name: task for task in (self.funnel.task, *self.funnel.parent_tasks)}
        target = example_target(tasks[name], ROWS, seed)
        target.label = target.label.to(self.dtype)
        target.raw = self.funnel.raw
        return target

    def change(self, **changes: Tensor) -> None:
        """Replace parts of all targets."""
        for target in self.targets.values():
            for name, value in changes.items():
                setattr(target, name, value)

    def value(self, rows: Tensor | None = None, parts: int = 1, scale: float = 1.0) -> Tensor:
        """The loss over some rows, as one of ``parts`` processes that share all rows."""
        rows = torch.arange(ROWS) if rows is None else rows
        raw = {name: column[rows] for name, column in self.funnel.raw.items()}
        h = self.h[rows] * scale
        parents = self.funnel.parent_outputs(h, raw)
        output: Output = self.funnel.head(h, parents, raw)
        own = {name: self._part(target, rows, parts) for name, target in self.targets.items()}
        both = {name: (parents[name], own[name]) for name in parents}
        value: Tensor = self.loss(output, own[self.funnel.task.name], both)
        return value

    def prediction(self) -> Tensor:
        """Prediction of the head, [B] or [B, K]."""
        return self.funnel.prediction(self.funnel.output()).detach()

    @staticmethod
    def _part(target: Target, rows: Tensor, parts: int) -> Target:
        part = take(target, rows)
        if parts == 1:
            return part
        weight = target.weight if target.weight is not None else torch.ones(ROWS, dtype=torch.float64)
        return replace(part, count=(target.mask * weight).sum() / parts, rows=torch.tensor(ROWS / parts))


class LossContract(ComponentContract):
    """Tests of a loss, for each task kind it serves.

    Set ``head`` if the loss isn't made for the default head of its kinds, ``parents`` to the kinds of parent
    tasks it needs, and ``row_wise = False`` if it compares rows with each other.
    """

    context = 1
    head: ClassVar[str] = ""
    parents: ClassVar[tuple[str, ...]] = ()
    row_wise: ClassVar[bool] = True

    def cases(self, dtype: torch.dtype = torch.float64) -> list[Case]:
        """One set-up per task kind."""
        cases = []
        for kind in sorted(self.component.kinds):
            head = registry().resolve("head", self.head or task_kind(kind).head)
            torch.manual_seed(0)
            funnel = Funnel(kind, self.parents, head)
            cases.append(Case(self.construct(funnel.task), funnel, dtype))
        return cases

    def test_serves_known_kinds(self) -> None:
        assert self.component.kinds
        assert self.component.kinds <= set(TASK_KINDS)

    def test_is_a_finite_scalar_with_a_gradient(self) -> None:
        for case in self.cases():
            check_reaches(case.value(), case.h)

    def test_without_labels_it_is_a_connected_zero(self) -> None:
        for case in self.cases():
            case.change(mask=torch.zeros(ROWS, dtype=torch.bool))
            for target in case.targets.values():
                target.label = torch.zeros_like(target.label)
            loss = case.value()
            assert loss == 0
            (gradient,) = torch.autograd.grad(loss, case.h)
            assert (gradient == 0).all()

    def test_unknown_labels_do_not_matter(self) -> None:
        for case in self.cases():
            before = case.value()
            for target in case.targets.values():
                target.label = torch.where(target.mask[:, None], target.label, 1.0)
            after = case.value()
            assert torch.equal(before, after)
            if not self.parents and self.row_wise:
                (gradient,) = torch.autograd.grad(after, case.h)
                assert (gradient[~case.targets["child"].mask] == 0).all()

    def test_processes_share_the_global_mean(self) -> None:
        if not self.row_wise:
            pytest.skip("it compares rows with each other")
        for case in self.cases():
            first, second = torch.arange(7), torch.arange(7, ROWS)
            shared = (case.value(first, parts=2) + case.value(second, parts=2)) / 2
            torch.testing.assert_close(shared, case.value(), rtol=1e-6, atol=1e-9)

    def test_a_weight_of_two_counts_twice(self) -> None:
        if not self.row_wise:
            pytest.skip("it compares rows with each other")
        for case in self.cases():
            twice = torch.cat([torch.arange(ROWS), torch.tensor([0])])
            expected = case.value(twice)
            weight = torch.ones(ROWS, dtype=torch.float64)
            weight[0] = 2
            case.change(weight=weight)
            torch.testing.assert_close(case.value(), expected, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("label", [0.0, 1.0])
    def test_a_constant_label_is_finite(self, label: float) -> None:
        for case in self.cases():
            for target in case.targets.values():
                target.label = torch.full_like(target.label, label)
            (gradient,) = torch.autograd.grad(case.value(), case.h)
            assert torch.isfinite(gradient).all()

    def test_large_logits_are_finite(self) -> None:
        for case in self.cases(torch.float32):
            loss = case.value(scale=100.0)
            (gradient,) = torch.autograd.grad(loss, case.h)
            assert torch.isfinite(loss)
            assert torch.isfinite(gradient).all()

    def test_learning_makes_predictions_follow_the_labels(self) -> None:
        for case in self.cases():
            if case.funnel.task.traits.difference:
                continue  # a row shows one arm, never the difference
            optimizer = torch.optim.Adam([case.h, *case.funnel.head.parameters()], lr=0.02)
            for _ in range(100):
                optimizer.zero_grad()
                case.value().backward()
                optimizer.step()
            label = perfect_prediction(case.funnel.task, case.targets["child"]).reshape(ROWS, -1)
            predicted = case.prediction().reshape(ROWS, -1)
            known = case.targets["child"].mask
            both = torch.stack([predicted[known].flatten(), label[known].flatten().to(case.dtype)])
            assert torch.corrcoef(both)[0, 1] > 0.3, case.funnel.task.kind

    def test_state_and_pickle_keep_the_loss(self) -> None:
        for case, fresh in zip(self.cases(), self.cases(), strict=True):
            expected = case.value()
            for other in restored(case.loss, fresh.loss):
                case.loss = other
                assert torch.equal(case.value(), expected)
