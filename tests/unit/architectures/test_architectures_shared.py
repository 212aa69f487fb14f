"""The second seam: gradients at the tensors that tasks share last, against autograd, for every architecture."""

import pytest
import torch
from torch.testing import assert_close

from mtl_lightning.architectures.example import example
from mtl_lightning.build import build_module, build_network
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Weighter
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import ARCHITECTURES
from mtl_lightning.training.step import Step, global_counts

WITHOUT = {"single_task", "mtan", "sluice", "pepnet"}
"""Architectures whose tasks share z last, or whose shared tensors are computed from each other."""
NAMES = tuple(ARCHITECTURES)
OPTIONS = {"dselect_k": {"selected": 1, "entropy": 0.0}, "sluice": {"orthogonality": 0.0}}
WEIGHTS = torch.tensor([0.5, 2.0, 1.5], dtype=torch.float64)


def network_and_batch(name):
    kind = registry().resolve("architecture", name)
    options = OPTIONS.get(name, {})
    schema, _, batch = example(tasks=3, copies=kind.table_copies(3, **options), rows=12)
    torch.manual_seed(0)
    encoder = {"name": "embedding", "width": 4, "numeric": "plain"}
    network = build_network(schema, encoder=encoder, architecture={"name": name, **options}).double().train()
    return network, batch.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def gradients(network, objective):
    network.zero_grad()
    objective.backward()
    return {name: _dense(value.grad, value) for name, value in network.named_parameters()}


def _dense(gradient, parameter):
    if gradient is None:
        return torch.zeros_like(parameter)
    return gradient.to_dense() if gradient.is_sparse else gradient.clone()


@pytest.mark.parametrize("name", NAMES)
def test_all_below_the_seam_gets_the_weighted_gradient_and_all_above_the_plain_one(name):
    network, batch = network_and_batch(name)
    network.keep_shared = True
    losses, seam = network.losses(batch, global_counts(batch))
    assert network.architecture.shared == (), "kept tensors would keep the graph, and stop copies of the module"
    step = Step(losses, seam, tasks=("a", "b", "c"), index=0, seed=0)
    objective = step.seam(torch.einsum("t,tbd->bd", WEIGHTS, step.jacobian))
    assert objective.item() == pytest.approx(sum(losses).item(), abs=1e-12)
    result = gradients(network, objective)

    plain = gradients(network, sum(network.losses(batch, global_counts(batch))[0]))
    losses, _ = network.losses(batch, global_counts(batch))
    weighted = gradients(network, (WEIGHTS * torch.stack(losses)).sum())

    below, above = set(), set()
    for key, value in result.items():
        if torch.allclose(value, weighted[key], atol=1e-12):
            below.add(key)
        else:
            assert_close(value, plain[key], rtol=1e-9, atol=1e-12, msg=key)
            above.add(key)
    assert {key for key in result if key.startswith("encoder.")} <= below
    assert {key for key in result if key.startswith("heads.")} & above
    # HoME's task gates are the tasks' own
    parts = {"home": ("meta", "upper"), "tabm": ("layers",)}.get(name, ("experts", "task_gates"))
    experts = {key for key in result if key.startswith(tuple(f"architecture.{part}" for part in parts))}
    if name not in WITHOUT:
        assert experts <= below


@pytest.mark.parametrize("name", sorted(set(NAMES) - WITHOUT))
def test_an_architecture_that_shares_more_than_z_declares_it(name):
    network, batch = network_and_batch(name)
    network.keep_shared = True
    _, seam = network.losses(batch, global_counts(batch))
    z = network.encoder(batch).z
    assert not (len(seam) == 1 and seam[0].shape == z.shape and torch.equal(seam[0], z))
    assert all(len(tensor) == len(batch) for tensor in seam)
    for tensor in seam:  # none is computed from another
        others = [other for other in seam if other is not tensor]
        parts = torch.autograd.grad(tensor.sum(), others, retain_graph=True, allow_unused=True) if others else ()
        assert all(part is None for part in parts)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_kept_where_nobody_asks(name):
    network, batch = network_and_batch(name)
    _, seam = network.losses(batch, global_counts(batch))
    assert network.architecture.shared == ()
    assert torch.equal(seam[0], network.encoder(batch).z)


def test_the_gramian_is_that_of_the_concatenated_tensors():
    network, batch = network_and_batch("mmoe")
    network.keep_shared = True
    losses, seam = network.losses(batch, global_counts(batch))
    step = Step(losses, seam, tasks=("a", "b", "c"), index=0, seed=0)
    rows = [torch.cat([part.flatten() for part in torch.autograd.grad(x, seam, retain_graph=True)]) for x in losses]
    assert_close(step.gramian, torch.stack(rows) @ torch.stack(rows).T)


def test_compiled_trunks_are_refused():
    schema, _, _ = example(tasks=2)
    with pytest.raises(MtlError, match="compile"):
        build_module(
            schema,
            architecture="mmoe",
            weighter={"name": "upgrad", "gradients_at": "shared"},
            optimizer={"compile": True},
        )


def test_a_module_asks_for_it_by_its_weighter():
    schema, _, batch = example(tasks=2)
    module = build_module(schema, architecture="mmoe", weighter={"name": "pcgrad", "gradients_at": "shared"})
    assert module.network.keep_shared
    assert Weighter.gradients_at == "seam"
    objective = module.training_step(batch, 0)
    objective.backward()
    assert all(torch.isfinite(value.grad).all() for value in module.network.architecture.parameters())


def test_only_a_training_pass_stores_the_tensors():
    schema, _, batch = example(tasks=2)
    module = build_module(schema, architecture="mmoe", weighter={"name": "pcgrad", "gradients_at": "shared"})
    module(batch)
    assert module.network.architecture.shared == ()
    module.training_step(batch, 0)
    assert module.network.architecture.shared == ()
