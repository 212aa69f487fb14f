"""Architectures against their papers' equations, row of weights by row of weights."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from mtl_lightning.architectures.example import example
from mtl_lightning.plugins import registry


@pytest.fixture
def build():
    """Makes an architecture whose weights all differ from their start, its encoder and a batch, in float64."""

    def made(name, tasks=2, rows=6, parents=(), **options):
        kind = registry().resolve("architecture", name)
        schema, encoder, batch = example(tasks, copies=kind.table_copies(tasks, **options), rows=rows)
        if parents:
            schema = replace(schema, tasks=(schema.tasks[0], *(replace(t, parents=parents) for t in schema.tasks[1:])))
        torch.manual_seed(1)
        architecture = kind(schema, encoder.double(), **options).double()
        with torch.no_grad():
            for parameter in architecture.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        architecture.keep_gates = True
        double = batch.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
        return architecture, encoder(double)

    return made


def of(linear, index, x):
    """One of the maps of a BatchedLinear."""
    bias = None if linear.bias is None else linear.bias.view(linear.count, -1)[index]
    return functional.linear(x, linear.weight[index], bias)


def expert(experts, index, x):
    """One of one-layer experts with ReLU."""
    return of(experts.layers[0], index, x).relu()


def mix(gate, parts):
    return sum(gate[:, e : e + 1] * part for e, part in enumerate(parts))


def gate_of(gates, index, x):
    """One of several softmax gates."""
    rows = slice(index * gates.experts, (index + 1) * gates.experts)
    return functional.linear(x, gates.linear.weight[rows], gates.linear.bias[rows]).softmax(1)


def equal(result, expected):
    torch.testing.assert_close(result, expected, rtol=1e-11, atol=1e-11)


def test_omoe(build):
    omoe, encoded = build("omoe", experts=3, hidden=[4])
    expected = mix(gate_of(omoe.gate, 0, encoded.z), [expert(omoe.experts, e, encoded.z) for e in range(3)])
    for h in omoe(encoded).values():
        equal(h, expected)


def test_cgc(build):
    cgc, encoded = build("cgc", own_experts=2, shared_experts=1, hidden=[4])
    outputs = [expert(cgc.layer.experts[0], e, encoded.z) for e in range(5)]  # two of a, two of b, one of both
    for t, h in enumerate(cgc(encoded).values()):
        own = outputs[2 * t : 2 * t + 2]
        equal(h, mix(gate_of(cgc.layer.task_gates[0], t, encoded.z), [*own, outputs[4]]))


def test_ple_of_two_levels(build):
    ple, encoded = build("ple", own_experts=1, shared_experts=1, hidden=[4], levels=2)
    first, second = ple.levels
    a, b, s = (expert(first.experts[0], e, encoded.z) for e in range(3))
    inputs = [mix(gate_of(first.task_gates[0], t, encoded.z), [own, s]) for t, own in enumerate((a, b))]
    inputs.append(mix(gate_of(first.shared_gate, 0, encoded.z), [a, b, s]))
    outputs = [expert(experts, 0, x) for experts, x in zip(second.experts, inputs, strict=True)]
    for t, h in enumerate(ple(encoded).values()):
        equal(h, mix(gate_of(second.task_gates[t], 0, inputs[t]), [outputs[t], outputs[2]]))


def test_adatt_of_two_levels(build):
    adatt, encoded = build("adatt", own_experts=2, shared_experts=1, hidden=[4], levels=2)
    inputs = [encoded.z] * 3
    counts, residuals = [2, 2, 1], iter(adatt.residuals)
    for level in range(2):
        if level == 0:
            every = [expert(adatt.experts[0][0], e, encoded.z) for e in range(5)]
        else:
            every = [expert(adatt.experts[1][g], e, inputs[g]) for g, count in enumerate(counts) for e in range(count)]
        fused = []
        for g, gates in enumerate(adatt.fusions[level]):  # at the last level the shared group has none
            start = sum(counts[:g])
            own = sum(v * e for v, e in zip(next(residuals), every[start : start + counts[g]], strict=True))
            fused.append(mix(gate_of(gates, 0, inputs[g]), every) + own)
        inputs = fused
    assert len(inputs) == 2
    for h, expected in zip(adatt(encoded).values(), inputs, strict=True):
        equal(h, expected)


def test_cross_stitch_and_sluice(build):
    stitch, encoded = build("cross_stitch", hidden=[5, 4])
    x = [encoded.z, encoded.z]
    for layer, alpha in zip(stitch.layers, stitch.stitches, strict=True):
        outputs = [of(layer, t, x[t]).relu() for t in range(2)]
        x = [sum(alpha.view(2, 2)[t, s] * outputs[s] for s in range(2)) for t in range(2)]
    for h, expected in zip(stitch(encoded).values(), x, strict=True):
        equal(h, expected)

    sluice, encoded = build("sluice", width=4, layers=2, subspaces=2)
    x, layers = [encoded.z, encoded.z], []
    for layer, alpha in zip(sluice.layers, sluice.sharing, strict=True):
        halves = [half for t in range(2) for half in of(layer, t, x[t]).relu().split(2, dim=1)]  # a1, a2, b1, b2
        mixed = [sum(alpha.view(4, 4)[i, j] * halves[j] for j in range(4)) for i in range(4)]
        x = [torch.cat(mixed[2 * t : 2 * t + 2], dim=1) for t in range(2)]
        layers.append(x)
    beta = sluice.mixing.view(2, 2)
    for t, h in enumerate(sluice(encoded).values()):
        equal(h, sum(beta[layer, t] * layers[layer][t] for layer in range(2)))


def test_dselect_k(build):
    """Expert e with binary code b has the share Π_j S(z_j)^b_j (1 − S(z_j))^(1 − b_j) of a selector."""
    dselect, encoded = build("dselect_k", experts=4, selected=2, hidden=[4], gamma=6.0)
    z = encoded.z
    numbers, scores = dselect.selectors(z).view(-1, 2, 2, 2), dselect.mix(z).view(-1, 2, 2)
    for t, (task, h) in enumerate(dselect(encoded).items()):
        gate = torch.zeros(len(z), 4, dtype=z.dtype)
        for i in range(2):
            x = numbers[:, t, i]
            step = torch.where(x <= -3, 0.0, torch.where(x >= 3, 1.0, -2 / 6**3 * x**3 + 3 / 12 * x + 0.5))
            for e in range(4):
                bits = [step[:, j] if e >> j & 1 else 1 - step[:, j] for j in range(2)]
                gate[:, e] += scores[:, t].softmax(1)[:, i] * bits[0] * bits[1]
        equal(dselect.gates[task], gate.detach())
        equal(h, mix(gate, [expert(dselect.experts, e, z) for e in range(4)]))


def gated(layer, index, v):
    """Swish(Norm(MLP(v ⊙ FeaGate(v)))) of one expert."""
    factors = [2 * of(layer.up, 2 * index + i, of(layer.down, 2 * index + i, v)).sigmoid() for i in range(2)]
    share = functional.linear(v, layer.choice.weight, layer.choice.bias).view(len(v), -1, 2)[:, index].softmax(1)
    linear, norm = layer.experts.layers[0], layer.experts.layers[1]
    x = functional.layer_norm(of(linear, index, v * mix(share, factors)), (norm.width,))
    return functional.silu(x * norm.weight.view(norm.count, -1)[index] + norm.bias.view(norm.count, -1)[index])


def test_home(build):
    home, encoded = build("home", tasks=3, groups=[["a", "c"], ["b"]], experts=2, hidden=[4])
    z = encoded.z
    level = [[gated(layer, e, z) for e in range(2)] for layer in home.meta]  # shared, first group, second
    own = [mix(layer.self_gate(z).softmax(1), outputs) for layer, outputs in zip(home.meta, level, strict=True)]
    merged = [mix(gate_of(home.shared_gate, 0, z), [*level[0], *level[1], *level[2]]) + own[0]]
    merged += [mix(gate_of(home.meta_gates, c - 1, z), [*level[0], *level[c]]) + own[c] for c in (1, 2)]
    upper = [[gated(layer, e, m) for e in range(2)] for layer, m in zip(home.upper, merged, strict=True)]
    for task, h in home(encoded).items():
        c = 2 if task == "b" else 1
        outputs = [gated(home.own[task], e, merged[c]) for e in range(2)]
        self_gated = mix(home.own[task].self_gate(merged[c]).softmax(1), outputs)
        gate = gate_of(home.task_gates[task], 0, merged[c])
        equal(h, mix(gate, [*upper[0], *upper[c], *outputs]) + self_gated)


def test_star(build):
    star, encoded = build("star", rows=8, scenario="scenario", hidden=[5, 4])
    z = encoded.z
    h = star(encoded)["a"]
    scale, shift = star.norm_scale.view(-1, z.shape[1]), star.norm_shift.view(-1, z.shape[1])
    for row, p in enumerate(encoded.batch.id("scenario").tolist()):
        x = functional.layer_norm(z[row], (z.shape[1],))
        x = x * (1 + scale[0]) * (1 + scale[1 + p]) + shift[0] + shift[1 + p]
        for layer in star.layers:
            weight = layer.shared.weight * (1 + layer.scales[p])
            x = (weight @ x + layer.shared.bias + layer.shifts.view(layer.scales.shape[0], -1)[p]).relu()
        equal(h[row], x + star.output(star.auxiliary(z[row])))


def test_pepnet(build):
    pepnet, encoded = build("pepnet", scenario="scenario", priors=["user", "item"], hidden=[5, 4])

    def gate(unit, x):
        return 2 * unit.output(unit.hidden(x)).sigmoid()

    z = gate(pepnet.embedding_gate, torch.cat([encoded.field("scenario"), encoded.z], dim=1)) * encoded.z
    code = torch.cat([encoded.field("user"), encoded.field("item"), z], dim=1)
    for t, h in enumerate(pepnet(encoded).values()):
        x = z
        for layer, unit in zip(pepnet.layers, pepnet.layer_gates, strict=True):
            width = x.shape[1]
            x = of(layer, t, gate(unit, code)[:, t * width : (t + 1) * width] * x).relu()
        equal(h, x)


def test_poso(build):
    poso, encoded = build("poso", priors=["user"], copies=3, hidden=[5, 4])
    code, x = poso.code(encoded.field("user")), encoded.z
    for layer, gate in zip(poso.layers, poso.layer_gates, strict=True):
        x = 2 / 3 * mix(gate(code).sigmoid(), [expert(layer, i, x) for i in range(3)])
    for h in poso(encoded).values():
        equal(h, x)


def test_dbmtl(build):
    dbmtl, encoded = build("dbmtl", parents=("a",))
    shared = dbmtl.trunk(encoded.z)
    a = dbmtl.relations["a"](dbmtl.towers["a"](shared))
    h = dbmtl(encoded)
    equal(h["a"], a)
    equal(h["b"], dbmtl.relations["b"](torch.cat([dbmtl.towers["b"](shared), a], dim=1)))


def test_shared_bottom_single_task_and_late_fusion(build):
    bottom, encoded = build("shared_bottom", hidden=[4])
    for h in bottom(encoded).values():
        equal(h, bottom.trunk.layers[0](encoded.z).relu())
    single, encoded = build("single_task", hidden=[4], share_tables=False)
    for t, h in enumerate(single(encoded).values()):
        equal(h, expert(single.trunks, t, encoded.copy(t)))
    fusion, encoded = build("late_fusion", hidden=[4])
    own = torch.cat([expert(fusion.networks, t, encoded.z) for t in range(2)], dim=1)
    for t, h in enumerate(fusion(encoded).values()):
        equal(h, own @ fusion.fusion.weight[4 * t : 4 * t + 4].T + fusion.fusion.bias[4 * t : 4 * t + 4])
