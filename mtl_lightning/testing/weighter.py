"""The contract of weighters."""

from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from mtl_lightning.interfaces import Weighter
from mtl_lightning.testing.component import ComponentContract, check_reaches, copy_by_pickle, gradients
from mtl_lightning.training.step import Step

TASKS = ("click", "cart", "buy")
HARD = ("zero", "one_zero", "all_masked", "huge", "tiny", "parallel", "opposed")


class Problem:
    """Three tasks over one linear seam, in float64: z [B, D] = rows × weight, a smooth loss of z per task.

    Args:
        kind: ``plain``, or one of the hard cases: no gradient at all, one or all tasks without labels, gradients of
            1e8 or 1e-8, the same gradient for all tasks, opposed gradients of two of them.
        tasks: Names of the tasks, in the order in which the weighter sees them.
    """

    def __init__(self, kind: str = "plain", tasks: Sequence[str] = TASKS) -> None:
        generator = torch.Generator().manual_seed(3)
        self.kind = kind
        self.tasks = tuple(tasks)
        self.rows = torch.randn(8, 4, generator=generator, dtype=torch.float64)
        self.weight = torch.randn(4, 5, generator=generator, dtype=torch.float64).requires_grad_()
        targets = {name: torch.randn(5, generator=generator, dtype=torch.float64) for name in TASKS}
        if kind == "parallel":
            targets = dict.fromkeys(TASKS, targets["click"])
        if kind == "opposed":
            targets["cart"] = -targets["click"]
        self.targets = targets

    def step(self, index: int) -> Step:
        """The losses at the current weight."""
        z = self.rows @ self.weight
        scale = {"huge": 1e8, "tiny": 1e-8, "zero": 0.0}.get(self.kind, 1.0)
        losses = []
        for i, name in enumerate(self.tasks):
            loss = scale * (1 + i_of(name)) * torch.nn.functional.softplus(z @ self.targets[name]).mean()
            if self.kind == "zero":
                loss = loss + 0.7
            masked = self.kind == "all_masked" or (self.kind == "one_zero" and i == 0)
            losses.append(z.sum() * 0.0 if masked else loss)
        return Step(torch.stack(losses), z, tasks=self.tasks, index=index, seed=11)

    def run(self, weighter: Weighter, steps: range, rate: float = 0.05) -> list[Tensor]:
        """Take steps of gradient descent, weighter included; the gradient of each at the shared weight."""
        step_gradients = []
        for index in steps:
            for parameter in (self.weight, *weighter.parameters()):
                parameter.grad = None
            weighter(self.step(index)).backward()
            assert self.weight.grad is not None, "the objective is not connected with the seam"
            step_gradients.append(self.weight.grad.clone())
            gradients(weighter)
            with torch.no_grad():
                for parameter in (self.weight, *weighter.parameters()):
                    scale = rate / float(parameter.grad.abs().max().clamp_min(1.0))  # type: ignore[union-attr]
                    parameter -= scale * parameter.grad  # type: ignore[operator]
            if weighter.needs_losses_after_step:
                weighter.after_step(self.step(index).values)
        return step_gradients


def i_of(name: str) -> int:
    """Position of a task in the canonical order."""
    return TASKS.index(name)


class WeighterContract(ComponentContract):
    """Tests of a weighter. Set ``permutable = False`` if its random choices depend on the order of the tasks."""

    context = 1
    permutable: ClassVar[bool] = True
    steps: ClassVar[int] = 4

    def build(self, tasks: Sequence[str] = TASKS) -> Weighter:
        """A fresh weighter."""
        weighter: Weighter = self.construct(tuple(tasks))
        return weighter

    def test_objective_is_a_finite_scalar_that_reaches_the_seam(self) -> None:
        problem = Problem()
        check_reaches(self.build()(problem.step(0)), problem.weight)

    def test_every_parameter_takes_part_in_every_step(self) -> None:
        Problem().run(self.build(), range(self.steps))

    def test_one_task_alone_keeps_the_direction_of_its_gradient(self) -> None:
        problem = Problem(tasks=TASKS[:1])
        (plain,) = torch.autograd.grad(problem.step(0).losses.sum(), problem.weight)
        (gradient,) = torch.autograd.grad(self.build(TASKS[:1])(problem.step(0)), problem.weight)
        cosine = torch.nn.functional.cosine_similarity(plain.flatten(), gradient.flatten(), dim=0)
        assert cosine > 1 - 1e-6

    def test_random_numbers_come_from_the_step(self) -> None:
        outcomes = []
        for seed in (1, 2):
            weighter = self.build()
            torch.manual_seed(seed)
            state = torch.get_rng_state()
            outcomes.append(torch.stack(Problem().run(weighter, range(self.steps))))
            assert torch.equal(state, torch.get_rng_state()), "the process's own random numbers were used"
        assert torch.equal(*outcomes)

    @pytest.mark.parametrize("kind", HARD)
    def test_hard_gradients_stay_finite(self, kind: str) -> None:
        for gradient in Problem(kind).run(self.build(), range(self.steps)):
            assert torch.isfinite(gradient).all()
            if kind in ("zero", "all_masked"):
                assert (gradient == 0).all()

    def test_a_step_without_labels_does_no_lasting_harm(self) -> None:
        weighter = self.build()
        Problem("all_masked").run(weighter, range(2))
        problem = Problem()
        for gradient in problem.run(weighter, range(2, 2 + self.steps)):
            assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0

    def test_state_survives_a_checkpoint(self) -> None:
        weighter, problem = self.build(), Problem()
        problem.run(weighter, range(self.steps))
        resumed, again = self.build(), Problem()
        resumed.load_state_dict(copy_by_pickle(weighter.state_dict()))
        again.weight = problem.weight.detach().clone().requires_grad_()
        later = range(self.steps, 2 * self.steps)
        for expected, gradient in zip(problem.run(weighter, later), again.run(resumed, later), strict=True):
            assert torch.equal(expected, gradient)

    def test_the_order_of_tasks_does_not_matter(self) -> None:
        if not self.permutable:
            pytest.skip("its random choices depend on the order of the tasks")
        plain = Problem().run(self.build(), range(self.steps))
        other = TASKS[1:] + TASKS[:1]
        for expected, gradient in zip(
            plain, Problem(tasks=other).run(self.build(other), range(self.steps)), strict=True
        ):
            torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)

    def test_report_names_the_tasks(self) -> None:
        weighter = self.build()
        Problem().run(weighter, range(2))
        report = weighter.report()
        assert not report or list(report) == list(TASKS)
        assert all(isinstance(value, float) and value == value for value in report.values())

    def test_pickles(self) -> None:
        weighter = self.build()
        Problem().run(weighter, range(2))
        copied = copy_by_pickle(weighter)
        assert torch.equal(
            torch.stack(Problem().run(weighter, range(2, 4))), torch.stack(Problem().run(copied, range(2, 4)))
        )
