"""Permutation importance: by how much a metric falls when features get the values of other rows."""

import copy
import math
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mtl_lightning.analysis.detailed_evaluation import training_sample
from mtl_lightning.batch import Target
from mtl_lightning.compare.statistics import Difference, Floats, Metric, Rows, draws, interval, metric_of
from mtl_lightning.config import Config
from mtl_lightning.data.store.order import generator
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import MtlError
from mtl_lightning.export.device import torch_device
from mtl_lightning.fitting.steps import build_model, prepare_data
from mtl_lightning.importance.items import Items
from mtl_lightning.importance.permutation import batches
from mtl_lightning.interfaces import TaskMetric
from mtl_lightning.metrics.score import overall_score
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.transfer import send_batch

SCORE = "score"
"""Name of the weighted score among tasks."""
LEVEL = 0.95
"""Confidence level of the intervals."""

Predicted = dict[str, tuple[Tensor, Target]]
"""Prediction and labels of all rows, per task."""


class Importance:
    """Importance of features for a trained model on the rows of a Store.

    The importance of features is the value of a metric minus its value with these features permuted. The metric of each
    task is the one that counts in the score, and errors have the opposite sign: a positive importance is a loss. The
    interval takes rows and permutations as random samples, as :func:`~mtl_lightning.compare.statistics.interval` does
    with rows and seeds.

    All features share the permutations of a repeat, so their differences have less noise than each of them. The result
    depends on ``batch_size`` only by the rounding of the network.

    Args:
        module: The trained module.
        store: Rows of a split.
        batch_size: Rows that are predicted at a time.
        repeats: Number of permutations.
        count: Number of bootstrap samples of rows; rows of a group (a user) are drawn together.
        seed: Seed of the permutations.

    Source:
        Breiman, "Random Forests", Machine Learning 45, 2001, section 10; Fisher, Rudin and Dominici, "All Models are
        Wrong, but Many are Useful", JMLR 20, 2019, for the difference on rows that the model was not trained on.

    Example:
        ``Importance(result.module, result.data.prepared.stores["validation"]).of(["user_id"])["click"]``
    """

    def __init__(
        self,
        module: MultiTaskModule,
        store: Store,
        *,
        batch_size: int = 8192,
        repeats: int = 5,
        count: int = 100,
        seed: int = 0,
    ) -> None:
        self.network = module.network.eval()
        self.store = store
        self.batch_size = batch_size
        self.repeats = repeats
        self.count = count
        self.seed = seed
        suite: Any = module.suites["validation"]
        first = {task: next(iter(named.items())) for task, named in suite.by_task().items() if named}
        self.names = {task: name for task, (name, _) in first.items()}
        if SCORE in self.names:
            raise MtlError(
                f"importance: a task is named {SCORE!r}, as the weighted score is", "give the task another name"
            )
        self.metrics: dict[str, TaskMetric] = {t: copy.deepcopy(metric).cpu() for t, (_, metric) in first.items()}
        self.lower = {task for task, metric in self.metrics.items() if not metric.higher_is_better}
        self.weights: Mapping[str, float] = suite.weights
        self.base = self._values(self._predict())

    @classmethod
    def of_run(
        cls,
        run: RunDirectory,
        config: Config,
        *,
        split: str = "validation",
        rows: int = 0,
        device: str = "cpu",
        seed: int = 0,
        **options: int,
    ) -> Self:
        """Measure a run's best weights on a split of its rows.

        Args:
            run: The run.
            config: Its configuration.
            split: ``validation`` or ``test``.
            rows: Rows of a random sample of the split; 0 for all.
            device: ``cpu``, ``cuda`` or ``cuda:<number>``.
            seed: Seed of the sample and of the permutations.
            options: ``repeats`` and ``count``.

        Raises:
            MtlError: If the split has no rows, the weights do not match the configuration, or there is no such device.
        """
        place = torch_device(device)
        data = prepare_data(config, run)
        store = data.prepared.stores.get(split)
        if store is None or not len(store):
            raise MtlError(f"there is no {split} split", f"set split.{split}")
        module = build_model(config, data)
        load_weights(module, run.weights())
        sample = training_sample(store, rows or len(store), seed)
        return cls(module.to(place), sample, batch_size=config.data.eval_batch_size, seed=seed, **options)

    @property
    def value(self) -> dict[str, float]:
        """Metric of each task and the score, without a permutation."""
        return dict(zip((*self.names, SCORE), self.base[0].tolist(), strict=True))

    def of(self, features: Collection[str]) -> dict[str, Difference]:
        """Importance of features that are permuted together, for each task and for the score.

        Args:
            features: Names of features.

        Returns:
            Mean over the permutations, with its interval; NaN where the metric is undefined.
        """
        orders = [torch.randperm(len(self.store), generator=generator(self.seed, i)) for i in range(self.repeats)]
        permuted = np.stack([self._values(self._predict(features, order)) for order in orders], axis=1)
        loss = self.base[:, None, :] - permuted
        signs = [-1.0 if task in self.lower else 1.0 for task in (*self.names, SCORE)]
        return {
            task: interval(signs[i] * loss[0, :, i], signs[i] * loss[1:, :, i], LEVEL)
            for i, task in enumerate((*self.names, SCORE))
        }

    def record(self, items: Items) -> dict[str, Any]:
        """Importance of items, the most important first, as plain containers for JSON; None where undefined.

        Args:
            items: Names of features by the name of the item.
        """
        measured = {name: self.of(features) for name, features in items.items()}
        order = sorted(items, key=lambda name: -np.nan_to_num(measured[name][SCORE].mean, nan=-np.inf))
        values = {name: _plain(value) for name, value in self.value.items()}
        return {
            "rows": len(self.store),
            "repeats": self.repeats,
            "draws": self.count,
            "level": LEVEL,
            "seed": self.seed,
            "tasks": {task: {"metric": metric, "value": values[task]} for task, metric in self.names.items()},
            "score": values[SCORE],
            "items": [
                {
                    "name": name,
                    "features": list(items[name]),
                    "importance": {task: difference.to_dict() for task, difference in measured[name].items()},
                }
                for name in order
            ],
        }

    def _predict(self, features: Collection[str] = (), order: Tensor | None = None) -> Predicted:
        device = next(self.network.parameters()).device
        parts: list[Predicted] = []
        with torch.inference_mode():
            for on_host in batches(self.store, self.batch_size, features, order):
                batch = send_batch(on_host, device, training=False)
                predictions, targets = self.network.measured(self.network.outputs(batch)[0], batch)
                parts.append({task: (predictions[task].cpu(), _map(targets[task], Tensor.cpu)) for task in self.names})
            return {
                task: (torch.cat([part[task][0] for part in parts]), _join([part[task][1] for part in parts]))
                for task in self.names
            }

    def _values(self, predicted: Predicted) -> Floats:
        """Metrics and score on the rows and on each bootstrap sample, [1 + count, tasks + 1]."""
        metrics = {task: self._metric(task, *rows) for task, rows in predicted.items()}
        values = []
        for times in self._times():
            by_task = {task: metric(times) for task, metric in metrics.items()}
            values.append([*by_task.values(), overall_score(by_task, self.weights, self.lower)])
        return np.array(values)

    def _times(self) -> Iterator[Floats]:
        """Number of times that each row counts: first once, then as often as it is in a bootstrap sample."""
        group = self.store.parts.get("group")
        rows = Rows(np.zeros(0), np.ones(len(self.store)), None if group is None else group.numpy())
        yield rows.weight
        yield from draws(rows, self.count)

    def _metric(self, task: str, prediction: Tensor, target: Target) -> Metric:
        """Metric of a task as a function of the number of times that each row counts."""
        metric = self.metrics[task]
        own = torch.ones(len(target.mask), dtype=torch.float64) if target.weight is None else target.weight
        if self.names[task] == metric.task.traits.compared_by:  # rows are sorted once, not once per sample
            known, label = target.mask.numpy(), target.label.double().numpy()
            weight = own.double().numpy()[known]
            details = (target.details[name].double().numpy()[known] for name in metric.task.traits.compared_with)
            weighed = metric_of(metric.task.kind, label[known], prediction.double().numpy()[known], *details)
            return lambda times: weighed(weight * times[known])

        def value(times: Floats) -> float:
            metric.reset()
            metric.update(prediction, replace(target, weight=own * torch.from_numpy(times)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # torchmetrics warns if no row was counted
                return float(metric.compute())

        return value


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _map(target: Target, function: Any) -> Target:
    """The target with a function applied to every tensor."""
    return _join([target], lambda tensors: function(tensors[0]))


def _join(targets: list[Target], function: Any = torch.cat) -> Target:
    """Rows of several targets, one after the other."""

    def join(values: list[Any]) -> Any:
        first = values[0]
        if isinstance(first, dict):
            return {name: join([value[name] for value in values]) for name in first}
        return function(values) if isinstance(first, Tensor) else first

    parts = [part.name for part in fields(Target) if part.init]
    return Target(**{name: join([getattr(target, name) for target in targets]) for name in parts})
