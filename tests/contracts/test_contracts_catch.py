"""Each contract fails for a component that breaks it in a way that has been seen in the field."""

import random
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from mtl_lightning.architectures.shared_bottom import SharedBottom
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.heads.binary import BinaryHead
from mtl_lightning.interfaces import Encoded, Loss, Output, RawSchema, Source, TaskMetric, Weighter
from mtl_lightning.losses.bce import BinaryCrossEntropy
from mtl_lightning.testing import CONTRACTS


class OwnRandomness(Weighter):
    def forward(self, step):
        return (torch.rand(len(self.tasks)) * step.losses).sum()


class StateOutsideBuffers(Weighter):
    seen = 0

    def forward(self, step):
        self.seen += 1
        return self.seen * step.losses.sum()


class DividesByTheNorm(Weighter):
    def forward(self, step):
        return (step.losses / step.gramian.diagonal().sqrt()).sum()


class LogOfTheLoss(Weighter):
    def forward(self, step):
        return step.losses.log().sum()


class FirstTaskFirst(Weighter):
    def forward(self, step):
        return step.losses[0]


class IdleParameter(Weighter):
    def __init__(self, tasks):
        super().__init__(tasks)
        self.idle = nn.Parameter(torch.zeros(1))

    def forward(self, step):
        return step.losses.sum()


class Detached(Weighter):
    def forward(self, step):
        return step.values.sum()


class LooseOptions(Weighter):
    """One of a kind"""

    def __init__(self, tasks, scale=1.0, **options):
        super().__init__(tasks)

    def forward(self, step):
        return step.losses.sum()


class LocalMean(Loss):
    kinds: ClassVar = frozenset({"binary"})

    def __init__(self, task):
        super().__init__()

    def forward(self, output, target, parents):
        rows = nn.functional.binary_cross_entropy_with_logits(output.logit, target.label, reduction="none")
        return rows[target.mask].mean()


class MaskIgnored(LocalMean):
    def forward(self, output, target, parents):
        return nn.functional.binary_cross_entropy_with_logits(output.logit, target.label.to(output.logit))


class LogOfProbability(LocalMean):
    def forward(self, output, target, parents):
        p, y = output.logit[:, 0].sigmoid(), target.label[:, 0]
        return target.mean(-(y * p.log() + (1 - y) * (1 - p).log()))


class Uphill(BinaryCrossEntropy):
    def forward(self, output, target, parents):
        return -super().forward(output, target, parents)


class MeanOfBatches(TaskMetric):
    kinds: ClassVar = frozenset({"binary"})
    higher_is_better = False

    def __init__(self, task):
        super().__init__(task)
        self.add_state("sum", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("batches", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, prediction, target):
        self.sum += (prediction - target.label[:, 0]).square().mean()
        self.batches += 1

    def compute(self):
        return self.sum / self.batches.clamp_min(1)


class BackwardsMetric(MeanOfBatches):
    higher_is_better = True


class Logit(BinaryHead):
    def predict(self, output, raw):
        return output.logit[:, 0]


class BatchCentred(BinaryHead):
    def forward(self, h, parents, raw):
        return super().forward(h - h.mean(0), parents, raw)


class UnusedLayer(BinaryHead):
    def __init__(self, task, width, parents):
        super().__init__(task, width, parents)
        self.unused = nn.Linear(2, 2)


class LabelLeak(EmbeddingEncoder):
    def forward(self, batch):
        encoded = super().forward(batch)
        return Encoded(encoded.z + batch.labels.sum(1, keepdim=True), batch, encoded.slices, encoded.copies)


class NegativeIdsForMissing(EmbeddingEncoder):
    def forward(self, batch):
        encoded = super().forward(batch)
        known = (batch.ids > 0).sum(1, keepdim=True)
        return Encoded(encoded.z / known, batch, encoded.slices, encoded.copies)


class FixesWhatItHandsOn(EmbeddingEncoder):
    def __init__(self, schema, copies, **options):
        super().__init__(schema, copies, width=4, **options)


class HandsOnToNobody(Weighter):
    def __init__(self, tasks, **options):
        super().__init__(tasks, **options)

    def forward(self, step):
        return step.losses.sum()


class Normed(SharedBottom):
    def __init__(self, schema, encoder):
        super().__init__(schema, encoder)
        self.norm = nn.BatchNorm1d(encoder.width)

    def forward(self, encoded):
        return super().forward(Encoded(self.norm(encoded.z), encoded.batch, encoded.slices, encoded.copies))


class GatesAlways(SharedBottom):
    def forward(self, encoded):
        self.gates = {"gate": encoded.z}
        return super().forward(encoded)


class LeakySource(Source):
    def schema(self):
        columns = {"item": "string", "click": "int64", "p": "double"}
        return RawSchema(columns=columns, features={"p": "numeric"}, after_event=("click",), oracle=("p",))

    def rows(self, split=None):
        import datasets

        return datasets.Dataset.from_dict({"item": ["a"], "click": [random.randrange(10**9)]})

    def fingerprint(self):
        return str(id(self))


CASES: list[tuple[str, type, str, tuple[Any, ...]]] = [
    ("weighter", OwnRandomness, "test_random_numbers_come_from_the_step", ()),
    ("weighter", StateOutsideBuffers, "test_state_survives_a_checkpoint", ()),
    ("weighter", DividesByTheNorm, "test_hard_gradients_stay_finite", ("one_zero",)),
    ("weighter", LogOfTheLoss, "test_hard_gradients_stay_finite", ("one_zero",)),
    ("weighter", FirstTaskFirst, "test_the_order_of_tasks_does_not_matter", ()),
    ("weighter", IdleParameter, "test_every_parameter_takes_part_in_every_step", ()),
    ("weighter", Detached, "test_objective_is_a_finite_scalar_that_reaches_the_seam", ()),
    ("weighter", LooseOptions, "test_options_are_keyword_only_with_types_and_defaults", ()),
    ("weighter", LooseOptions, "test_docstring_opens_with_a_sentence_and_documents_every_option", ()),
    ("weighter", LooseOptions, "test_docstring_has_an_example_that_runs", ()),
    ("loss", LocalMean, "test_processes_share_the_global_mean", ()),
    ("loss", LocalMean, "test_without_labels_it_is_a_connected_zero", ()),
    ("loss", LocalMean, "test_a_weight_of_two_counts_twice", ()),
    ("loss", MaskIgnored, "test_unknown_labels_do_not_matter", ()),
    ("loss", LogOfProbability, "test_large_logits_are_finite", ()),
    ("loss", Uphill, "test_learning_makes_predictions_follow_the_labels", ()),
    ("metric", MeanOfBatches, "test_batches_add_up", ()),
    ("metric", MeanOfBatches, "test_processes_add_up", ()),
    ("metric", MeanOfBatches, "test_unknown_labels_do_not_count", ()),
    ("metric", MeanOfBatches, "test_nothing_to_measure_gives_nan", ()),
    ("metric", BackwardsMetric, "test_the_truth_is_no_worse_than_chance", ()),
    ("head", Logit, "test_predictions_are_possible_values", (1.0,)),
    ("head", BatchCentred, "test_rows_do_not_see_each_other", ()),
    ("head", UnusedLayer, "test_the_default_loss_reaches_h_and_every_parameter", ()),
    ("encoder", LabelLeak, "test_labels_do_not_reach_z", ()),
    ("encoder", NegativeIdsForMissing, "test_missing_values_only_are_finite", ()),
    ("encoder", FixesWhatItHandsOn, "test_missing_values_only_are_finite", ()),
    ("weighter", HandsOnToNobody, "test_options_are_keyword_only_with_types_and_defaults", ()),
    ("architecture", Normed, "test_one_row_is_enough_in_training", ()),
    ("architecture", GatesAlways, "test_gates_are_kept_only_when_asked", ()),
    ("source", LeakySource, "test_suggested_features_are_columns_known_before_the_event", ()),
    ("source", LeakySource, "test_schema_names_columns_that_the_rows_have", ()),
    ("source", LeakySource, "test_the_fingerprint_follows_the_options", ()),
    ("source", LeakySource, "test_rows_are_there_and_the_same_each_time", ()),
]


@pytest.mark.parametrize(("kind", "component", "test", "arguments"), CASES)
def test_the_contract_catches(kind: str, component: type, test: str, arguments: tuple[Any, ...]) -> None:
    contract = type("Contract", (CONTRACTS[kind],), {"component": component})()
    with pytest.raises((AssertionError, RuntimeError, TypeError, ValueError)):
        getattr(contract, test)(*arguments)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_what_a_head_predicts_is_checked_for_its_kind(scale: float) -> None:
    from mtl_lightning.testing.head import in_range

    assert in_range("binary", torch.tensor([scale]))
    assert not in_range("binary", torch.tensor([scale + 0.1, 1.1]))
    assert not in_range("count", torch.tensor([-0.1]))
    assert not in_range("regression", Output(torch.tensor([[torch.nan]])).logit)
    assert not in_range("multiclass", torch.tensor([[0.5, 0.6]]))
