"""Effects of a treatment: each learner's formula, its loss written out, and columns that are not 0 or 1."""

import math

import pytest
import torch

from mtl_lightning.batch import Output, Target
from mtl_lightning.build import build_network, check_columns
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.heads.dragonnet import DragonNetHead
from mtl_lightning.heads.s_learner import SLearnerHead
from mtl_lightning.heads.t_learner import TLearnerHead
from mtl_lightning.heads.tarnet import TARNetHead
from mtl_lightning.heads.x_learner import XLearnerHead
from mtl_lightning.losses.dragonnet import DragonNetLoss
from mtl_lightning.losses.uplift import UpliftLoss
from mtl_lightning.losses.x_learner import XLearnerLoss
from mtl_lightning.schema import Schema, Task
from mtl_lightning.testing.example import example_batch, example_schema, example_task

SALE = Task(name="sale", kind="uplift", label="sale", mean=0.2)
HEADS = (DragonNetHead, SLearnerHead, TARNetHead, TLearnerHead, XLearnerHead)
A = torch.tensor([[0.3, -0.4], [1.2, 0.1], [-0.7, 0.9], [0.5, 0.2]], dtype=torch.float64)
G = torch.tensor([[0.2], [-1.0], [0.4], [2.0]], dtype=torch.float64)
T = torch.tensor([[1.0], [0.0], [1.0], [0.0]], dtype=torch.float64)
Y = torch.tensor([[1.0], [1.0], [0.0], [0.0]], dtype=torch.float64)
KNOWN = torch.ones(4, dtype=torch.bool)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def cross_entropy(p, y):
    return -math.log(p if y else 1 - p)


def factual(i):
    return cross_entropy(sigmoid(A[i, int(T[i])]), Y[i])


def loss_of(kind, extra, **options):
    output = Output(A, extra={"treatment": T, **extra})
    return kind(SALE, **options)(output, Target(label=Y, mask=KNOWN), {}).item()


@pytest.mark.parametrize("kind", HEADS)
def test_an_effect_is_a_difference_of_probabilities_that_starts_at_the_rate(kind):
    head = kind(SALE, 8, {}, hidden=[])
    output = head(torch.zeros(3, 8), {}, {"treatment": torch.tensor([0.0, 1.0, math.nan])})
    details = head.details(output, {"treatment": torch.tensor([0.0, 1.0, math.nan])})
    assert details["treatment"][:2].tolist() == [0, 1]
    if kind not in (DragonNetHead, TARNetHead, SLearnerHead):  # whose further layers have biases
        assert details["control"].tolist() == pytest.approx([0.2] * 3, rel=1e-5)
        assert details["treated"].tolist() == pytest.approx([0.2] * 3, rel=1e-5)
    if kind is not XLearnerHead:
        torch.testing.assert_close(head.predict(output, {}), details["treated"] - details["control"])


def test_the_s_learner_changes_the_treatment_alone():
    head = SLearnerHead(SALE, 8, {}).double()
    h = torch.randn(5, 8, dtype=torch.float64)
    inputs = (torch.cat([h, torch.full((5, 1), value).double()], 1) for value in (0.0, 1.0))
    expected = [head.tower(column)[0] for column in inputs]
    torch.testing.assert_close(head(h, {}, {}).logit, torch.cat(expected, 1))


def test_dragonnet_is_tarnet_with_a_propensity():
    tarnet, dragonnet = TARNetHead(SALE, 8, {}), DragonNetHead(SALE, 8, {})
    missing = dragonnet.load_state_dict(tarnet.state_dict(), strict=False).missing_keys
    assert sorted(missing) == ["epsilon", "propensity.bias", "propensity.weight"]
    h = torch.randn(5, 8)
    assert torch.equal(tarnet(h, {}, {}).logit, dragonnet(h, {}, {}).logit)
    shared = TARNetHead(SALE, 8, {}, representation=[])
    torch.testing.assert_close(shared(h, {}, {}).logit[:, :1], shared.tower(h)[0])


def test_the_x_learner_weighs_each_arm_by_the_propensity_of_the_other():
    head = XLearnerHead(SALE, 8, {})
    effects = torch.tensor([[0.5, -0.1], [0.2, 0.4]])
    output = Output(torch.zeros(2, 2), extra={"effects": effects, "propensity": torch.tensor([[0.0], [9e9]])})
    assert head.predict(output, {}).tolist() == pytest.approx([0.2, 0.2])


def test_the_x_learner_learns_imputed_effects_row_by_row():
    effects = torch.tensor([[0.1, 0.2], [-0.3, 0.4], [0.0, -0.2], [0.5, 0.6]], dtype=torch.float64)
    expected = 0.0
    for i in range(4):
        control, treated = sigmoid(A[i, 0]), sigmoid(A[i, 1])
        error = effects[i, 1] - (Y[i] - control) if T[i] else effects[i, 0] - (treated - Y[i])
        expected += (factual(i) + cross_entropy(sigmoid(G[i]), T[i]) + 2 * error.item() ** 2) / 4
    assert loss_of(XLearnerLoss, {"effects": effects, "propensity": G}, effects=2.0) == pytest.approx(expected)


def test_an_imputed_effect_gives_no_gradient():
    logit, effects = A.clone().requires_grad_(), torch.zeros(4, 2, dtype=torch.float64, requires_grad=True)
    output = Output(logit, extra={"treatment": T, "effects": effects, "propensity": G})
    XLearnerLoss(SALE)(output, Target(label=Y, mask=KNOWN), {}).backward()
    assert ((logit.grad != 0) == torch.cat([1 - T, T], 1).bool()).all()
    assert ((effects.grad != 0) == torch.cat([1 - T, T], 1).bool()).all()


def test_targeted_regularisation_is_the_authors():
    """``make_tarreg_loss`` of the authors' code, with cross-entropy of outcomes and as a mean."""
    epsilon, expected = 0.05, 0.0
    for i in range(4):
        y, t = Y[i].item(), T[i].item()
        t_pred = (sigmoid(G[i]) + 0.01) / 1.02
        y_pred = t * sigmoid(A[i, 1]) + (1 - t) * sigmoid(A[i, 0])
        h = t / t_pred - (1 - t) / (1 - t_pred)
        y_pert = y_pred + epsilon * h
        expected += (factual(i) + 0.5 * cross_entropy(sigmoid(G[i]), t) + 3 * (y - y_pert) ** 2) / 4
    extra = {"propensity": G, "epsilon": torch.tensor([epsilon])}
    assert loss_of(DragonNetLoss, extra, propensity=0.5, targeted=3.0) == pytest.approx(expected)


def test_a_missing_treatment_adds_nothing_and_a_missing_column_is_named():
    treatment = T.clone()
    treatment[1] = math.nan
    logit = A.clone()
    logit[1] = math.inf
    logit.requires_grad_()
    target = Target(label=Y, mask=KNOWN, count=torch.tensor(4.0))
    loss = UpliftLoss(SALE)(Output(logit, extra={"treatment": treatment}), target, {})
    assert loss.item() == pytest.approx(sum(map(factual, (0, 2, 3))) / 4)
    loss.backward()
    assert logit.grad[1].tolist() == [0, 0]
    with pytest.raises(MtlError, match=r"heads\.sale\.treatment: the rows have no such column"):
        UpliftLoss(SALE)(Output(A), target, {})


@pytest.mark.parametrize("architecture", ["shared_bottom", {"name": "tabm", "members": 2, "hidden": [8]}])
def test_a_treatment_of_2_is_refused_with_its_place(architecture, tmp_path):
    schema: Schema = example_schema([example_task("uplift", "sale")])
    network = build_network(schema, architecture=architecture)
    column = example_batch(schema).raw["treatment"].clone()
    column[0] = math.nan
    check_columns(network, {"train": Store(schema, {"raw/treatment": column}, tmp_path)}, {})
    column[3] = 2.0
    with pytest.raises(DataError, match=r"heads\.sale: the column 'treatment' is 2 in a row of test"):
        check_columns(network, {"test": Store(schema, {"raw/treatment": column}, tmp_path)}, {})


def test_a_feature_that_reads_the_treatment_is_refused():
    network = build_network(example_schema([example_task("uplift", "sale")]))
    check_columns(network, {}, {"age": ("age",)})
    with pytest.raises(DataError, match=r"heads\.sale: the column 'treatment' is also read by the feature 'pair'"):
        check_columns(network, {}, {"age": ("age",), "pair": ("age", "treatment")})


def test_learners_find_the_effect_of_a_known_world():
    """P(y | t) depends on the first of two numbers, and the treatment helps where the second is positive."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(2000, 2, generator=generator)
    treatment = (torch.rand(2000, generator=generator) < 0.5).float()
    arms = torch.stack([h[:, 0] - 1, h[:, 0] - 1 + 1.5 * h[:, 1]], 1).sigmoid()
    label = (torch.rand(2000, generator=generator) < torch.where(treatment > 0, arms[:, 1], arms[:, 0])).float()
    target = Target(label=label[:, None], mask=torch.ones(2000, dtype=torch.bool))
    losses = {DragonNetHead: DragonNetLoss, XLearnerHead: XLearnerLoss}
    for kind in HEADS:
        torch.manual_seed(0)
        head = kind(SALE, 2, {}, hidden=[16])
        loss = losses.get(kind, UpliftLoss)(SALE)
        optimizer = torch.optim.Adam(head.parameters(), lr=0.03)
        for _ in range(80):
            optimizer.zero_grad()
            loss(head(h, {}, {"treatment": treatment}), target, {}).backward()
            optimizer.step()
        effect = head.predict(head(h, {}, {}), {}).detach()
        correlation = torch.corrcoef(torch.stack([effect, arms[:, 1] - arms[:, 0]]))[0, 1]
        assert correlation > 0.9, (kind.__name__, correlation)
