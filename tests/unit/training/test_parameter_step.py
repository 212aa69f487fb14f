"""Gradients at shared parameters: what is chosen, what each parameter gets."""

import pytest
import torch
from torch import nn

from mtl_lightning.errors import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.training.parameter_step import ParameterStep, gradient_parameters
from mtl_lightning.training.step import Step
from mtl_lightning.weighters.bases.gramian import GramianWeighter

NAMES = ("a", "b", "c")
GRAMIAN = [
    name
    for name in sorted(registry().names("weighter"))
    if issubclass(registry().resolve("weighter", name), GramianWeighter)
]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict({"table": nn.Embedding(7, 3), "norm": nn.Linear(3, 4)})
        self.architecture = nn.ModuleDict({"expert": nn.Linear(4, 4), "own": nn.Linear(4, 4)})
        self.heads = nn.ModuleDict({name: nn.Linear(4, 1) for name in NAMES})

    def losses(self):
        z = self.encoder["norm"](self.encoder["table"](torch.arange(7)))
        h = torch.tanh(self.architecture["expert"](z))
        inputs = {"a": h, "b": -h, "c": h + self.architecture["own"](z)}
        return [self.heads[name](inputs[name]).square().mean() for name in NAMES], z


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Small().double()


def tables(model):
    return [model.encoder["table"].weight]


def test_the_dense_parameters_of_encoder_and_architecture_are_candidates(model):
    chosen = gradient_parameters(model, tables(model), "parameters")
    expected = [*model.encoder["norm"].parameters(), *model.architecture.parameters()]
    assert [id(value) for value in chosen] == [id(value) for value in expected]
    assert gradient_parameters(model, tables(model), "seam") == []
    assert len(gradient_parameters(model, tables(model), "architecture.expert*")) == 2


def test_a_pattern_that_matches_nothing_is_an_error(model):
    with pytest.raises(MtlError, match="matches no dense parameter"):
        gradient_parameters(model, tables(model), "architecture.experts*")


def step_at(model, where, index=0):
    losses, _ = model.losses()
    return ParameterStep(losses, gradient_parameters(model, tables(model), where), tasks=NAMES, index=index, seed=0)


def test_parameters_of_one_task_alone_are_dropped(model):
    step = step_at(model, "parameters")
    assert step.jacobian.shape == (3, 1, 4 * 3 + 4 + 4 * 4 + 4)
    own = {id(value) for value in model.architecture["own"].parameters()}
    assert not own & {id(value) for value in step.parameters}


@pytest.mark.parametrize("name", GRAMIAN)
def test_shared_parameters_get_the_weighted_gradient_and_all_others_the_sum(model, name):
    weighter = registry().resolve("weighter", name)(NAMES, scope="encoder", gradients_at="parameters")
    step = step_at(model, weighter.gradients_at)
    jacobian = step.jacobian[:, 0]
    losses, _ = model.losses()
    if name == "db_mtl":  # everything descends log-losses
        losses = [loss / loss.detach() for loss in losses]
    plain = dict(
        zip(
            dict(model.named_parameters()),
            torch.autograd.grad(sum(losses), list(model.parameters())),
            strict=True,
        )
    )
    weighter(step).backward()
    weights = weighter.kept
    got = torch.cat([value.grad.flatten() for value in step.parameters])
    torch.testing.assert_close(got, weights @ jacobian, rtol=1e-9, atol=1e-12)
    shared = {id(value) for value in step.parameters}
    for key, value in model.named_parameters():
        if id(value) not in shared:
            torch.testing.assert_close(value.grad, plain[key], rtol=1e-9, atol=1e-12)


def test_gramian_is_that_of_the_parameters_not_of_the_seam(model):
    losses, z = model.losses()
    at_z = Step(losses, z, tasks=NAMES, index=0, seed=0).gramian
    at_parameters = step_at(model, "parameters").gramian
    rows = [
        torch.cat([torch.autograd.grad(loss, value, retain_graph=True)[0].flatten() for value in parameters])
        for loss in losses
        for parameters in [[*model.encoder["norm"].parameters(), *model.architecture["expert"].parameters()]]
    ]
    torch.testing.assert_close(at_parameters, torch.stack(rows) @ torch.stack(rows).T)
    assert not torch.allclose(at_z, at_parameters)


def test_moco_and_excess_mtl_follow_the_parameters_gradient(model):
    for name in ("moco", "excess_mtl"):
        weighter = registry().resolve("weighter", name)(NAMES, gradients_at="parameters")
        step = step_at(model, "parameters")
        weighter(step)
        assert weighter.track.shape == step.jacobian[:, 0].shape
