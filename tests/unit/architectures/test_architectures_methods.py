"""Promises of single architectures, by their papers' equations."""

from dataclasses import replace

import pytest
import torch
from architecture_cases import build_architecture
from torch.nn import functional

from mtl_lightning.architectures.dbmtl import DBMTL
from mtl_lightning.architectures.example import example
from mtl_lightning.errors import MtlError


def test_mmoe_is_the_papers_sum_over_experts():
    architecture, encoder, batch = build_architecture("mmoe", experts=5, hidden=[7, 3])
    z = encoder(batch).z
    h = architecture(encoder(batch))
    first, second = architecture.experts.layers[0], architecture.experts.layers[2]
    outputs = []
    for e in range(5):
        x = functional.linear(z, first.weight[e], first.bias[e * 7 : (e + 1) * 7]).relu()
        outputs.append(functional.linear(x, second.weight[e], second.bias[e * 3 : (e + 1) * 3]).relu())
    gates = architecture.task_gates.linear
    for t, task in enumerate(h):
        rows = slice(t * 5, (t + 1) * 5)
        weights = functional.linear(z, gates.weight[rows], gates.bias[rows]).softmax(1)
        expected = sum(weights[:, e : e + 1] * outputs[e] for e in range(5))
        torch.testing.assert_close(h[task], expected, rtol=1e-12, atol=1e-12)


def test_gate_dropout_leaves_experts_out_in_training_only():
    architecture, encoder, batch = build_architecture("mmoe", rows=200, experts=4, hidden=[3], gate_dropout=0.5)
    architecture.keep_gates = True
    architecture(encoder(batch))
    gate = architecture.gates["a"]
    assert 0.2 < (gate == 0).double().mean() < 0.6
    torch.testing.assert_close(gate.sum(1), torch.ones(200, dtype=torch.float64))
    architecture.eval()
    architecture(encoder(batch))
    assert (architecture.gates["a"] > 0).all()


def test_cgc_uses_own_and_shared_experts_only():
    architecture, encoder, batch = build_architecture("cgc", own_experts=2, shared_experts=1, hidden=[3])
    encoded = encoder(batch)
    architecture(encoded)["b"].sum().backward()
    touched = architecture.layer.experts[0].layers[0].weight.grad.flatten(1).abs().sum(1) > 0
    assert touched.tolist() == [False, False, True, True, False, False, True]


def test_ple_with_one_level_is_cgc():
    ple, encoder, batch = build_architecture("ple", levels=1, hidden=[5])
    cgc, _, _ = build_architecture("cgc", hidden=[5])
    cgc.layer.load_state_dict(ple.levels[0].state_dict())
    for task, value in ple(encoder(batch)).items():
        torch.testing.assert_close(cgc(encoder(batch))[task], value)


def test_ple_mixes_all_experts_in_the_shared_group_only():
    ple, encoder, batch = build_architecture("ple", levels=2, own_experts=1, shared_experts=1, hidden=[4])
    ple.keep_gates = True
    ple(encoder(batch))
    assert {name: gate.shape[1] for name, gate in ple.gates.items()} == {
        "level0/a": 2, "level0/b": 2, "level0/c": 2, "level0/shared": 4, "a": 2, "b": 2, "c": 2,
    }  # fmt: skip


def test_single_task_shares_only_what_is_said():
    shared, encoder, batch = build_architecture("single_task")
    encoded = encoder(batch)
    shared(encoded)["a"].sum().backward()
    assert (shared.trunks.layers[0].weight.grad.flatten(1).abs().sum(1) > 0).tolist() == [True, False, False]
    alone, encoder, batch = build_architecture("single_task", share_tables=False)
    encoded = encoder(batch)
    (gradient,) = torch.autograd.grad(alone(encoded)["b"].sum(), encoded.z)
    width = encoded.z.shape[1] // 3
    assert [bool(part.abs().sum() > 0) for part in gradient.split(width, dim=1)] == [False, True, False]


def test_groups_of_tasks_are_shared_bottoms_that_share_nothing():
    groups, encoder, batch = build_architecture("task_groups", groups={"b": 7, "c": 7}, hidden=[5])
    encoded = encoder(batch)
    h = groups(encoded)
    assert h["b"] is h["c"]
    (gradient,) = torch.autograd.grad(h["b"].sum(), encoded.z)
    first, second = gradient.chunk(2, dim=1)
    assert (bool(first.any()), bool(second.any())) == (False, True)
    every = dict(zip("abc", range(3), strict=True))
    apart, encoder, batch = build_architecture("task_groups", groups=every, hidden=[5])
    single, _, _ = build_architecture("single_task", share_tables=False, hidden=[5])
    single.load_state_dict(apart.state_dict())
    for task, value in apart(encoder(batch)).items():
        torch.testing.assert_close(single(encoder(batch))[task], value)
    with pytest.raises(MtlError, match=r"architecture\.groups: no task 'd'"):
        build_architecture("task_groups", groups={"d": 1})


def test_cross_stitch_starts_near_single_tasks_and_permutes_with_them():
    architecture, encoder, batch = build_architecture("cross_stitch", hidden=[5], own=1.0)
    single, _, _ = build_architecture("single_task", hidden=[5])
    single.trunks.layers[0].load_state_dict(architecture.layers[0].state_dict())
    for task, value in architecture(encoder(batch)).items():
        torch.testing.assert_close(single(encoder(batch))[task], value)


def test_late_fusion_starts_with_nine_tenths_of_its_own():
    architecture, encoder, batch = build_architecture("late_fusion", tasks=2, hidden=[5])
    own = architecture.networks(encoder(batch).z)
    torch.testing.assert_close(architecture(encoder(batch))["a"], 0.9 * own[:, 0] + 0.1 * own[:, 1])


def test_sluice_penalty_is_zero_for_orthogonal_subspaces():
    architecture, encoder, batch = build_architecture("sluice", width=4, layers=1, subspaces=2)
    architecture(encoder(batch))
    assert architecture.penalty.shape == (6,)
    with torch.no_grad():
        weight = architecture.layers[0].weight
        weight.zero_()
        weight[:, :2, :3] = 1.0
        weight[:, 2:, 3:6] = 1.0
    assert architecture.overlap().item() == 0
    with torch.no_grad():
        weight[:, 2:, 2:6] = 1.0  # one common column: each product of rows is 1
    assert architecture.overlap().item() == pytest.approx(3.0)


def test_dselect_k_gates_are_exactly_sparse_once_selected():
    architecture, encoder, batch = build_architecture("dselect_k", experts=6, selected=2)
    architecture.keep_gates = True
    architecture(encoder(batch))
    assert (architecture.gates["a"] > 0).all()  # everything in play at the start
    with torch.no_grad():
        architecture.selectors.bias.copy_(torch.where(torch.rand_like(architecture.selectors.bias) < 0.5, -9.0, 9.0))
    architecture(encoder(batch))
    for gate in architecture.gates.values():
        assert ((gate > 0).sum(1) <= 2).all()


def test_dselect_k_entropy_falls_as_selectors_leave_the_step():
    architecture, encoder, batch = build_architecture("dselect_k", experts=8, entropy=1.0)
    architecture(encoder(batch))
    undecided = architecture.penalty.mean().item()
    assert undecided == pytest.approx(torch.tensor(8.0).log().item(), rel=0.01)
    with torch.no_grad():
        architecture.selectors.bias.fill_(9.0)
    architecture(encoder(batch))
    assert architecture.penalty.mean().item() == pytest.approx(0.0, abs=1e-9)


def test_adatt_adds_its_own_experts_as_a_residual():
    architecture, encoder, batch = build_architecture("adatt", levels=1, own_experts=1, shared_experts=0, hidden=[4])
    architecture.keep_gates = True
    h = architecture(encoder(batch))
    experts = architecture.experts[0][0](encoder(batch).z)
    gate = architecture.gates["b"]
    expected = torch.einsum("be,beh->bh", gate, experts) + experts[:, 1]
    torch.testing.assert_close(h["b"], expected)


def test_stem_sees_other_tasks_forward_and_not_backward():
    architecture, encoder, batch = build_architecture("stem", tasks=2)
    encoded = encoder(batch)
    h = architecture(encoded)["a"]
    (gradient,) = torch.autograd.grad(h.sum(), encoded.z)
    shared, own, other = gradient.split(encoded.z.shape[1] // 3, dim=1)
    assert shared.abs().sum() > 0
    assert own.abs().sum() > 0
    assert other.abs().sum() == 0
    moved = replace(encoded, z=encoded.z + torch.cat([torch.zeros_like(shared), torch.zeros_like(own), other + 1], 1))
    assert not torch.equal(architecture(moved)["a"], h)


def test_stem_gates_read_the_own_part_and_the_shared_one():
    architecture, encoder, batch = build_architecture("stem", tasks=2, hidden=[4])
    architecture.keep_gates = True
    encoded = encoder(batch)
    h = architecture(encoded)["b"]
    shared, first, second = (encoded.copy(i) for i in range(3))
    gate = architecture.task_gates[1].linear(second + shared).softmax(1)
    torch.testing.assert_close(architecture.gates["b"], gate.detach())
    parts = [experts(part)[:, 0] for experts, part in zip(architecture.experts, (shared, first, second), strict=True)]
    torch.testing.assert_close(h, sum(gate[:, e : e + 1] * part for e, part in enumerate(parts)))


def test_mtan_masks_see_the_trunk_and_what_the_task_had_before():
    architecture, encoder, batch = build_architecture("mtan", tasks=2, hidden=[5, 4], attention=3)
    z = encoder(batch).z
    features = [architecture.trunk[0](z).relu()]
    features.append(architecture.trunk[1](features[0]).relu())

    def mask(layer, task, seen):
        reduced, expanded = architecture.reduce[layer], architecture.expand[layer]
        inner = functional.linear(seen, reduced.weight[task], reduced.bias.view(2, -1)[task]).relu()
        return functional.linear(inner, expanded.weight[task], expanded.bias.view(2, -1)[task]).sigmoid()

    for t, (_, value) in enumerate(architecture(encoder(batch)).items()):
        before = mask(0, t, features[0]) * features[0]
        carried = architecture.carry[0](before).relu()  # the same map for both tasks
        expected = mask(1, t, torch.cat([features[1], carried], dim=1)) * features[1]
        torch.testing.assert_close(value, expected)


def test_star_has_weights_per_scenario_and_one_result_traced_or_not(monkeypatch):
    architecture, encoder, batch = build_architecture("star", scenario="scenario", rows=40)
    start = architecture(encoder(batch))["a"]
    with torch.no_grad():
        for layer in architecture.layers:
            layer.scales.normal_()
            layer.shifts.normal_()
    changed = architecture(encoder(batch))["a"]
    assert not torch.allclose(start, changed)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(architecture(encoder(batch))["a"], changed)


def test_home_shares_within_groups_only():
    architecture, encoder, batch = build_architecture("home", groups=[["a", "c"], ["b"]])
    architecture(encoder(batch))["a"].sum().backward()
    touched = {task: next(layer.parameters()).grad is not None for task, layer in architecture.own.items()}
    assert touched == {"a": True, "b": False, "c": False}
    upper = [next(layer.parameters()).grad is not None for layer in architecture.upper]
    assert upper == [True, True, False]


def test_pepnet_gates_start_near_one_and_do_not_move_z_through_their_input():
    architecture, encoder, batch = build_architecture("pepnet", scenario="scenario", priors=["user"])
    architecture.keep_gates = True
    architecture(encoder(batch))
    assert (architecture.gates["embedding"] - 1).abs().max() < 0.6
    with torch.no_grad():
        for layer in architecture.layers:
            layer.weight.zero_()
    encoded = encoder(batch)
    (gradient,) = torch.autograd.grad(architecture(encoded)["a"].sum(), encoded.z)
    assert gradient.abs().sum() == 0


def test_poso_gates_see_the_prior_only():
    architecture, encoder, batch = build_architecture("poso", priors=["user"])
    architecture.keep_gates = True
    architecture(encoder(batch))
    before = architecture.gates["layer0"]
    ids = batch.ids.clone()
    ids[:, 1:] = 1
    architecture(encoder(replace(batch, ids=ids)))
    torch.testing.assert_close(architecture.gates["layer0"], before)


def test_dbmtl_follows_the_task_graph():
    schema, encoder, batch = example(3)
    tasks = (schema.tasks[0], replace(schema.tasks[1], parents=("a",)), schema.tasks[2])
    architecture = DBMTL(replace(schema, tasks=tasks), encoder)
    h = architecture(encoder(batch))
    h["b"].sum().backward(retain_graph=True)
    assert next(architecture.relations["a"].parameters()).grad is not None
    architecture.zero_grad()
    h["c"].sum().backward()
    assert next(architecture.relations["a"].parameters()).grad is None
