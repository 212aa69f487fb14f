"""Distillation: the loss written out, rows without a teacher, and columns that hold no probability."""

import math

import pytest
import torch

from mtl_lightning.batch import Output, Target
from mtl_lightning.build import build_network, check_columns
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.losses.distilled import Distilled
from mtl_lightning.schema import Task
from mtl_lightning.testing.example import example_batch, example_schema, example_task

CLICK = Task(name="click", kind="binary", label="click")
V = torch.tensor([[0.3], [-1.2], [0.8], [2.0]], dtype=torch.float64)
Y = torch.tensor([[1.0], [0.0], [0.0], [1.0]], dtype=torch.float64)
Q = [0.7, 0.2, math.nan, 0.9]
GROUP = torch.tensor([5, 5, 5, 6])


def target(teacher=Q, label=Y):
    raw = {"teacher": torch.tensor(teacher, dtype=torch.float64)}
    return Target(label=label, mask=torch.ones(4, dtype=torch.bool), group=GROUP, raw=raw, count=torch.tensor(4.0))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def entropy(p, q):
    return -p * math.log(q) - (1 - p) * math.log(1 - q)


@pytest.mark.parametrize(("temperature", "soft"), [(1.0, 0.5), (3.0, 0.8), (0.5, 1.0)])
def test_the_loss_is_its_formula_row_by_row(temperature, soft):
    expected = 0.0
    for v, y, q in zip(V[:, 0].tolist(), Y[:, 0].tolist(), Q, strict=True):
        hard = entropy(y, sigmoid(v))
        if math.isnan(q):
            expected += hard / 4
            continue
        taught = sigmoid(math.log(q / (1 - q)) / temperature)
        expected += ((1 - soft) * hard + soft * temperature**2 * entropy(taught, sigmoid(v / temperature))) / 4
    loss = Distilled(CLICK, temperature=temperature, soft=soft)(Output(V), target(), {})
    assert loss.item() == pytest.approx(expected)


def test_ranking_compares_distributions_over_a_users_taught_rows():
    logits = [math.log(q / (1 - q)) / 2 for q in (0.7, 0.2)]
    teacher = torch.tensor(logits, dtype=torch.float64).softmax(0)
    student = (V[:2, 0] / 2).softmax(0)
    expected = 4 * -(teacher * student.log()).sum().item() / 4  # T² over four known rows; a row alone costs nothing
    losses = [Distilled(CLICK, temperature=2.0, ranking=r)(Output(V), target(), {}).item() for r in (0.0, 1.0, 2.0)]
    assert losses[1] - losses[0] == pytest.approx(expected)
    assert losses[2] - losses[0] == pytest.approx(2 * expected)


def test_the_student_that_agrees_with_its_teacher_has_no_gradient():
    logit = torch.logit(torch.tensor([[0.7], [0.2], [0.4], [1e-5]], dtype=torch.float64)).requires_grad_()
    known = target([0.7, 0.2, 0.4, 1e-5])
    Distilled(CLICK, soft=1.0, temperature=2.0, ranking=1.0)(Output(logit), known, {}).backward()
    assert logit.grad.abs().max() < 1e-12


def test_certain_teachers_and_wild_unknown_rows_have_finite_gradients():
    logit = V.clone()
    logit[3] = math.inf
    logit.requires_grad_()
    known = target([0.0, 1.0, math.nan, math.nan])
    known.mask[3] = False
    Distilled(CLICK, ranking=1.0)(Output(logit), known, {}).backward()
    assert logit.grad.isfinite().all()
    assert logit.grad[3] == 0
    assert logit.grad[:3].abs().min() > 0


def test_a_missing_column_and_numbers_that_are_not_probabilities_are_named(tmp_path):
    with pytest.raises(MtlError, match=r"losses\.click\.teacher: the rows have no column 'big'"):
        Distilled(CLICK, teacher="big")(Output(V), target(), {})
    schema = example_schema([example_task()])
    for architecture in ("shared_bottom", {"name": "tabm", "members": 2, "hidden": [8]}):
        loss = {"name": "distilled", "teacher": "oracle"}
        network = build_network(schema, architecture=architecture, losses={"click": loss})
        column = example_batch(schema).raw["oracle"].clone()
        column[0] = math.nan
        check_columns(network, {"train": Store(schema, {"raw/oracle": column}, tmp_path)}, {})
        column[3] = -2.5
        with pytest.raises(DataError, match=r"losses\.click: the column 'oracle' is -2\.5 in a row of test"):
            check_columns(network, {"test": Store(schema, {"raw/oracle": column}, tmp_path)}, {})
