"""The contract of heads."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from mtl_lightning.batch import Output
from mtl_lightning.interfaces import Head, Loss
from mtl_lightning.plugins import registry
from mtl_lightning.task_kinds import TASK_KINDS, task_kind
from mtl_lightning.testing.component import (
    ComponentContract,
    check_gradients,
    check_reaches,
    gradients,
    perturb,
    restored,
)
from mtl_lightning.testing.example import example_raw, example_target, example_task

ROWS, WIDTH = 24, 8


class Funnel:
    """One head with its parents over fixed representations, and the losses that go with them.

    Args:
        kind: Kind of the task.
        parents: Kinds of its parent tasks, which have the heads named like them.
        construct: Makes the head from ``(task, width, parents)``.
    """

    def __init__(self, kind: str, parents: tuple[str, ...], construct: Any) -> None:
        self.parent_tasks = [example_task(kind=name, name=f"parent_{i}") for i, name in enumerate(parents)]
        self.task = example_task(kind, "child", parents=tuple(task.name for task in self.parent_tasks))
        self.parents: dict[str, Head] = {}
        for task in self.parent_tasks:
            torch.manual_seed(1)
            self.parents[task.name] = registry().resolve("head", task.traits.head)(task, WIDTH, {}).eval()
        self.head: Head = construct(self.task, WIDTH, self.parents).eval()
        generator = torch.Generator().manual_seed(2)
        self.h = torch.randn(ROWS, WIDTH, generator=generator).requires_grad_()
        self.raw = example_raw(ROWS, generator)

    def parent_outputs(self, h: Tensor, raw: Mapping[str, Tensor]) -> dict[str, Output]:
        """Outputs of the parents' heads."""
        return {name: head(h, {}, raw) for name, head in self.parents.items()}

    def output(self, h: Tensor | None = None, rows: slice = slice(None)) -> Output:
        """Output of the head for some rows."""
        h = (self.h if h is None else h)[rows]
        raw = {name: column[rows] for name, column in self.raw.items()}
        output: Output = self.head(h, self.parent_outputs(h, raw), raw)
        return output

    def prediction(self, output: Output) -> Tensor:
        """Prediction of the head."""
        return self.head.predict(output, self.raw)

    def loss(self, output: Output, seed: int = 0, *, masked: bool = False) -> Tensor:
        """The head's default loss over a target, penalty included."""
        loss: Loss = registry().resolve("loss", type(self.head).loss)(self.task)
        target = example_target(self.task, ROWS, seed)
        parents = {}
        outputs = self.parent_outputs(self.h, self.raw)
        for task in self.parent_tasks:
            parents[task.name] = (outputs[task.name], example_target(task, ROWS, seed + 1))
        for current in (target, *(pair[1] for pair in parents.values())):
            current.raw = self.raw
            if masked:
                current.mask = torch.zeros_like(current.mask)
                current.label = torch.zeros_like(current.label)
        value: Tensor = loss(output, target, parents)
        return value if output.penalty is None else value + target.row_mean(output.penalty)


def in_range(kind: str, prediction: Tensor) -> bool:
    """True if predictions are possible values for a kind of task."""
    if not bool(torch.isfinite(prediction).all()):
        return False
    traits = task_kind(kind)
    valid = traits.predicted if traits.difference else example_task(kind).label_range
    if traits.probability:
        return bool(((prediction >= 0) & (prediction <= 1)).all())
    if not traits.scalar:
        total = prediction.sum(1)
        return bool((prediction >= 0).all()) and torch.allclose(total, torch.ones_like(total), atol=1e-5)
    return bool(((prediction >= valid.lowest) & (prediction <= valid.highest)).all())


class HeadContract(ComponentContract):
    """Tests of a head, for each task kind it serves. ``parents`` are the kinds of the parent tasks it needs."""

    context = 3
    parents: ClassVar[tuple[str, ...]] = ()

    def funnels(self) -> list[Funnel]:
        """One set-up per task kind."""
        return [Funnel(kind, self.parents, self.construct) for kind in sorted(self.component.kinds)]

    def test_serves_known_kinds_and_names_a_loss_that_serves_them_too(self) -> None:
        assert self.component.kinds
        assert self.component.kinds <= set(TASK_KINDS)
        assert self.component.kinds <= registry().resolve("loss", self.component.loss).kinds  # type: ignore[attr-defined]

    def test_shapes(self) -> None:
        for funnel in self.funnels():
            output = funnel.output()
            several = not funnel.task.traits.scalar
            assert output.logit.ndim == 2
            assert output.logit.shape[0] == ROWS
            assert funnel.prediction(output).shape == ((ROWS, funnel.task.classes) if several else (ROWS,))
            if output.hidden is not None:
                assert output.hidden.shape == (ROWS, funnel.head.hidden_width)
            if output.penalty is not None:
                assert output.penalty.shape == (ROWS,)

    @pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
    def test_predictions_are_possible_values(self, scale: float) -> None:
        for funnel in self.funnels():
            prediction = funnel.prediction(funnel.output(funnel.h * scale))
            assert in_range(funnel.task.kind, prediction), (funnel.task.kind, prediction)

    def test_the_default_loss_reaches_h_and_every_parameter(self) -> None:
        for funnel in self.funnels():
            funnel.head.train()
            loss = funnel.loss(funnel.output())
            check_reaches(loss, funnel.h)
            loss.backward()
            check_gradients(funnel.head)

    def test_without_labels_the_loss_is_a_connected_zero(self) -> None:
        for funnel in self.funnels():
            output = funnel.output()
            output.penalty = None
            loss = funnel.loss(output, masked=True)
            assert loss == 0
            loss.backward()
            assert all((gradient == 0).all() for gradient in gradients(funnel.head).values())

    def test_rows_do_not_see_each_other(self) -> None:
        for funnel in self.funnels():
            some = slice(3, 4)
            torch.testing.assert_close(
                funnel.output(rows=some).logit, funnel.output().logit[some], rtol=1e-5, atol=1e-6
            )

    def test_learns_what_it_is_shown(self) -> None:
        for funnel in self.funnels():
            optimizer = torch.optim.Adam([*funnel.head.parameters(), funnel.h], lr=0.05)
            first = funnel.loss(funnel.output()).item()
            for _ in range(60):
                optimizer.zero_grad()
                loss = funnel.loss(funnel.output())
                loss.backward()
                optimizer.step()
            assert loss.item() < first, funnel.task.kind

    def test_state_and_pickle_keep_the_output(self) -> None:
        for funnel, fresh in zip(self.funnels(), self.funnels(), strict=True):
            perturb(funnel.head)
            expected = funnel.output().logit
            for other in restored(funnel.head, fresh.head):
                fresh.head = other
                assert torch.equal(fresh.output().logit, expected)
