"""Own and shared paths: each is the network that it would be alone, and a task that leaves trains nothing shared."""

import torch
from architecture_cases import build_architecture
from torch.testing import assert_close

from mtl_lightning.architectures.example import example
from mtl_lightning.build import build_network
from mtl_lightning.training.step import global_counts

EXACT = {"rtol": 1e-9, "atol": 1e-12}


def test_paths_are_a_shared_bottom_and_single_task_networks():
    paths, encoder, batch = build_architecture("dual_path", hidden=[5, 4])
    encoded = encoder(batch)
    shared = paths.trunk(encoded.copy(0))
    own = paths.trunks(torch.stack([encoded.copy(i + 1) for i in range(3)]))
    for i, (task, h) in enumerate(paths(encoded).items()):
        assert paths.widths[task] == 8
        assert_close(h, torch.cat([own[:, i], shared], dim=1))


def test_a_task_without_weight_on_the_shared_path_leaves_it_until_it_returns():
    paths, encoder, batch = build_architecture("dual_path", hidden=[5])
    encoded = encoder(batch)
    before = paths(encoded)

    def gradients(task):
        (gradient,) = torch.autograd.grad(paths(encoded)[task].sum(), encoded.z, retain_graph=True)
        return [bool(part.any()) for part in gradient.chunk(4, dim=1)]

    halves = dict.fromkeys("abc", torch.tensor([0.5, 0.5]))
    assert gradients("b") == [True, False, True, False]
    paths.weigh_members({**halves, "b": torch.tensor([1.0, 0.0])})
    assert gradients("b") == [False, False, True, False]
    assert gradients("a") == [True, True, False, False]
    assert paths.state_dict()["joined"].tolist() == [1.0, 0.0, 1.0]
    for task, h in paths(encoded).items():
        assert_close(h, before[task], rtol=0, atol=0)
    assert paths(encoded)["b"].requires_grad
    paths.weigh_members(halves)
    assert gradients("b") == [True, False, True, False]


def test_predictions_are_weighed_and_losses_are_not():
    schema, _, batch = example(2, copies=3, rows=9)
    torch.manual_seed(0)
    network = build_network(schema, architecture={"name": "dual_path", "hidden": [5]}).double()
    batch = batch.map(lambda x: x.double() if x.is_floating_point() else x)
    outputs, _ = network.outputs(batch)
    own, shared = network.head("a").predictions(outputs["a"], batch.raw)
    assert_close(network(batch)["a"], (own + shared) / 2, **EXACT)
    losses = network.losses(batch, global_counts(batch))[0]
    network.head("a").weights.copy_(torch.tensor([0.25, 0.75]))
    assert_close(network(batch)["a"], own / 4 + 3 * shared / 4, **EXACT)
    assert_close(network.losses(batch, global_counts(batch))[0], losses, **EXACT)
    assert "heads.a.weights" in network.state_dict()
