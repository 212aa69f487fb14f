"""The contract of metrics."""

import warnings
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.batch import Target
from mtl_lightning.interfaces import Task, TaskMetric
from mtl_lightning.schema import TASK_KINDS
from mtl_lightning.testing.component import ComponentContract, copy_by_pickle
from mtl_lightning.testing.example import example_prediction, example_target, example_task, perfect_prediction

ROWS = 240


class MetricContract(ComponentContract):
    """Tests of a metric, for each task kind it serves. ``tolerance`` is the error of its sums (histograms, float32)."""

    context = 1
    tolerance: ClassVar[float] = 1e-5

    def tasks(self) -> list[Task]:
        """One task per kind."""
        return [example_task(kind) for kind in sorted(self.component.kinds)]

    def build(self, task: Task) -> TaskMetric:
        """A fresh metric."""
        metric: TaskMetric = self.construct(task)
        return metric

    def value(self, task: Task, prediction: Tensor, target: Target, *parts: Tensor) -> Tensor:
        """The metric over all rows, added in parts."""
        metric = self.build(task)
        for rows in parts or (torch.arange(len(prediction)),):
            metric.update(prediction[rows], take(target, rows))
        return compute(metric)

    def same(self, value: Tensor, expected: Tensor) -> None:
        """Equal within the tolerance."""
        torch.testing.assert_close(value.double(), expected.double(), rtol=self.tolerance, atol=self.tolerance)

    def test_serves_known_kinds_and_says_which_way_is_better(self) -> None:
        assert self.component.kinds
        assert self.component.kinds <= set(TASK_KINDS)
        assert self.component.higher_is_better in (True, False, None)

    def test_is_a_finite_scalar(self) -> None:
        for task in self.tasks():
            value = self.value(task, example_prediction(task, ROWS), example_target(task, ROWS))
            assert value.shape == ()
            assert torch.isfinite(value)

    def test_batches_add_up(self) -> None:
        for task in self.tasks():
            prediction, target = example_prediction(task, ROWS), example_target(task, ROWS)
            parts = torch.arange(ROWS).split([1, 50, 100, ROWS - 151])
            self.same(self.value(task, prediction, target, *parts), self.value(task, prediction, target))

    def test_processes_add_up(self) -> None:
        for task in self.tasks():
            prediction, target = example_prediction(task, ROWS), example_target(task, ROWS)
            metrics = [self.build(task), self.build(task)]
            for metric, rows in zip(metrics, (torch.arange(70), torch.arange(70, ROWS)), strict=True):
                metric.update(prediction[rows], take(target, rows))
            for name, reduction in metrics[0]._reductions.items():
                states = [getattr(metric, name) for metric in metrics]
                rows_kept = isinstance(states[0], list)
                assert rows_kept or callable(reduction), f"state {name} is not reduced over processes"
                merged = states[0] + states[1] if rows_kept else reduction(torch.stack(states))  # type: ignore[operator, misc]
                setattr(metrics[0], name, merged)
            self.same(compute(metrics[0]), self.value(task, prediction, target))

    def test_rows_may_come_in_any_order(self) -> None:
        for task in self.tasks():
            prediction, target = example_prediction(task, ROWS), example_target(task, ROWS)
            order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
            value = self.value(task, prediction[order], take(target, order))
            self.same(value, self.value(task, prediction, target))

    def test_unknown_labels_do_not_count(self) -> None:
        for task in self.tasks():
            prediction, target = example_prediction(task, ROWS), example_target(task, ROWS)
            known = target.mask.nonzero()[:, 0]
            label = torch.where(target.mask[:, None], target.label, 1.0)
            value = self.value(task, prediction, replace(target, label=label))
            self.same(value, self.value(task, prediction[known], take(target, known)))

    def test_nothing_to_measure_gives_nan(self) -> None:
        for task in self.tasks():
            assert compute(self.build(task)).isnan()
            target = example_target(task, ROWS)
            target.mask = torch.zeros_like(target.mask)
            assert self.value(task, example_prediction(task, ROWS), target).isnan()

    def test_a_constant_label_raises_nothing(self) -> None:
        for task in self.tasks():
            target = example_target(task, ROWS)
            for label in (0.0, 1.0):
                constant = replace(target, label=torch.full_like(target.label, label))
                assert self.value(task, example_prediction(task, ROWS), constant).shape == ()

    def test_the_truth_is_no_worse_than_chance(self) -> None:
        for task in self.tasks():
            target = example_target(task, ROWS)
            if self.component.higher_is_better is None:
                continue
            truth = perfect_prediction(task, target)
            if task.oracle:
                oracle = 0.1 + 0.8 * truth.double().reshape(ROWS, -1).T
                target.raw |= dict(zip(task.oracles, oracle, strict=True))
            best, chance = (self.value(task, p, target) for p in (truth, example_prediction(task, ROWS, seed=7)))
            assert best >= chance if self.component.higher_is_better else best <= chance, (task.kind, best, chance)

    def test_reset_forgets(self) -> None:
        for task in self.tasks():
            metric = self.build(task)
            metric.update(example_prediction(task, ROWS, seed=5), example_target(task, ROWS, seed=5))
            metric.reset()
            metric.update(example_prediction(task, ROWS), example_target(task, ROWS))
            self.same(compute(metric), self.value(task, example_prediction(task, ROWS), example_target(task, ROWS)))

    def test_pickles_with_its_rows(self) -> None:
        for task in self.tasks():
            metric = self.build(task)
            metric.update(example_prediction(task, ROWS), example_target(task, ROWS))
            self.same(compute(copy_by_pickle(metric)), compute(metric))


def take(target: Target, rows: Tensor) -> Target:
    """Some rows of a target."""
    return Target(
        label=target.label[rows],
        mask=target.mask[rows],
        weight=None if target.weight is None else target.weight[rows],
        group=None if target.group is None else target.group[rows],
        raw={name: column[rows] for name, column in target.raw.items()},
        details={name: column[rows] for name, column in target.details.items()},
    )


def compute(metric: TaskMetric) -> Tensor:
    """The value, without torchmetrics' warning that there were no rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        value: Tensor = metric.compute()
    return value
