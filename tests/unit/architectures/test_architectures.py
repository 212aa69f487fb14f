"""Properties of every architecture."""

import pytest
import torch
from architecture_cases import build_architecture

from mtl_lightning.plugins.builtin import ARCHITECTURES

NAMES = sorted(ARCHITECTURES)


@pytest.mark.parametrize("tasks", [1, 2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_one_task_alone(name, tasks):
    architecture, encoder, batch = build_architecture(name, tasks)
    h = architecture(encoder(batch))
    assert list(h) == list(batch.schema.task_index)
    for task, value in h.items():
        assert value.shape == (6, architecture.widths[task])
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_task_reaches_z_and_all_parameters_learn(name):
    architecture, encoder, batch = build_architecture(name, rows=64)
    encoded = encoder(batch)
    h = architecture(encoded)
    for value in h.values():
        (gradient,) = torch.autograd.grad(value.square().sum(), encoded.z, retain_graph=True)
        assert gradient.abs().sum() > 0
    loss = sum(value.square().sum() for value in h.values())
    if architecture.penalty is not None:
        loss = loss + architecture.penalty.mean()
    loss.backward()
    # DDP hangs on a parameter that takes no part in a step.
    assert [name for name, parameter in architecture.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_touch_each_other(name):
    architecture, encoder, batch = build_architecture(name)
    architecture.eval()
    whole = architecture(encoder(batch))
    for i in range(3):
        alone = architecture(encoder(batch.map(lambda x: x[i : i + 1])))  # noqa: B023
        for task in whole:
            torch.testing.assert_close(alone[task], whole[task][i : i + 1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_is_no_error(name):
    architecture, encoder, batch = build_architecture(name)
    h = architecture(encoder(batch.map(lambda x: x[:0])))
    assert {value.shape[0] for value in h.values()} == {0}


@pytest.mark.parametrize("name", NAMES)
def test_gates_are_kept_only_when_asked_and_without_graph(name):
    architecture, encoder, batch = build_architecture(name)
    architecture(encoder(batch))
    assert architecture.gates == {}
    architecture.keep_gates = True
    architecture(encoder(batch))
    assert all(not gate.requires_grad and gate.shape[0] == 6 for gate in architecture.gates.values())


@pytest.mark.parametrize("name", ["mmoe", "omoe", "cgc", "ple", "adatt", "stem", "home", "dselect_k"])
def test_expert_gates_sum_to_one(name):
    architecture, encoder, batch = build_architecture(name)
    architecture.keep_gates = True
    architecture(encoder(batch))
    assert architecture.gates
    for gate in architecture.gates.values():
        torch.testing.assert_close(gate.sum(-1), torch.ones(6, dtype=torch.float64))
        assert (gate >= 0).all()
