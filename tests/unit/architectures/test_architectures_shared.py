"""The second seam: gradients at the tensors that tasks share last, against autograd, for every architecture."""

import pytest
import torch
from torch.testing import assert_close

from mtl_lightning.architectures.example import example
from mtl_lightning.build import build_module, build_network
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import JacobianWeighter, Weighter
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import ARCHITECTURES
from mtl_lightning.training.parameter_step import gradient_parameters, make_step
from mtl_lightning.training.step import Step, global_counts
from mtl_lightning.weighters.graddrop import GradDrop

WITHOUT = {"single_task", "onerank"}
"""Architectures whose tasks share z last."""
NAMES = tuple(ARCHITECTURES)
OPTIONS = {"dselect_k": {"selected": 1, "entropy": 0.0}, "sluice": {"orthogonality": 0.0}, "smes": {"balance": 0.0}}
PARTS = {
    "home": ("meta", "upper"),  # its task gates are the tasks' own
    "tabm": ("layers",),
    "mtan": ("trunk",),
    "sluice": ("layers", "sharing.0"),
    "pepnet": ("embedding_gate", *(f"layer_gates.{i}.hidden" for i in range(3))),
}
"""Parts of architectures that are below the shared tensors."""
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
    parts = PARTS.get(name, ("experts", "task_gates"))
    experts = {key for key in result if key.startswith(tuple(f"architecture.{part}" for part in parts))}
    if name not in WITHOUT:
        assert experts <= below
    if name in PARTS:
        assert len({key.split(".")[1] for key in experts}) >= len({part.split(".")[0] for part in PARTS[name]})


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


@pytest.mark.parametrize("name", NAMES)
def test_jacobian_weighters_combine_at_the_shared_tensors(name):
    """A weighted sum, entry by entry, is what autograd gives for the weighted loss below the seam."""

    class Entrywise(JacobianWeighter):
        def combine(self, jacobian):
            return (WEIGHTS[:, None, None] * jacobian).sum(0)

    network, batch = network_and_batch(name)
    network.keep_shared = True
    losses, seam = network.losses(batch, global_counts(batch))
    weighter = Entrywise(("a", "b", "c"), gradients_at="shared")
    objective = weighter(Step(losses, seam, tasks=weighter.tasks, index=0, seed=0))
    expected = torch.autograd.grad((WEIGHTS * torch.stack(losses)).sum(), seam, retain_graph=True)
    # above the seam the plain sum, whose gradient at the seam the correction replaces
    result = torch.autograd.grad(objective, seam, retain_graph=True)
    assert_close(result, expected, rtol=1e-9, atol=1e-12)
    table = next(iter(network.encoder.parameters()))
    weighted = torch.autograd.grad((WEIGHTS * torch.stack(losses)).sum(), table, retain_graph=True)[0]
    assert_close(torch.autograd.grad(objective, table)[0].to_dense(), weighted.to_dense(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("where", ["seam", "shared", "parameters", "architecture.experts*"])
def test_graddrop_takes_gradients_at_every_place(where):
    network, batch = network_and_batch("mmoe")
    network.keep_shared = where == "shared"

    def objective(leak):
        weighter = GradDrop(("a", "b", "c"), leak=leak, gradients_at=where)
        losses, seam = network.losses(batch, global_counts(batch))
        parameters = gradient_parameters(network, network.encoder.table_parameters(), weighter.gradients_at)
        return weighter(make_step(losses, seam, parameters, tasks=weighter.tasks, index=0, seed=0))

    plain = gradients(network, sum(network.losses(batch, global_counts(batch))[0]))
    remaining, dropped = gradients(network, objective(1.0)), gradients(network, objective(0.0))
    changed = {key for key, value in dropped.items() if not torch.allclose(value, plain[key], atol=1e-12)}
    below = {"seam": "encoder.", "architecture.experts*": "architecture.experts."}.get(where, "architecture.")
    assert any(key.startswith(below) for key in changed)
    assert not any(key.startswith("heads.") for key in changed)
    for key, value in remaining.items():  # with a leak of 1 nothing is dropped
        assert_close(value, plain[key], rtol=1e-9, atol=1e-12, msg=key)


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
