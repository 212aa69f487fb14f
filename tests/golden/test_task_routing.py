"""Architectures ``smes`` and ``onerank`` against their equations, written as loops over rows, tasks and experts."""

import math

import pytest
import torch
from architecture_cases import build_architecture

from mtl_lightning.build import build_network
from mtl_lightning.interfaces import MtlError
from mtl_lightning.testing import example_batch, example_schema, example_task
from mtl_lightning.testing.component import perturb

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def softmax(values):
    total = sum(math.exp(x) for x in values)
    return [math.exp(x) / total for x in values]


def routes(architecture, z):
    """Shares of every task over experts, and the experts that it reads, for one row."""
    count = architecture.experts.count
    scores = (architecture.router.weight @ z + architecture.router.bias).tolist()
    shares = [softmax(scores[t * count : (t + 1) * count]) for t in range(len(architecture.tasks))]
    joint = sorted(range(count), key=lambda e: -sum(share[e] for share in shares))[: architecture.joint]
    chosen = []
    for share in shares:
        rest = sorted((e for e in range(count) if e not in joint), key=lambda e: -share[e])
        chosen.append([*joint, *rest[: architecture.own]])
    return shares, chosen


@pytest.mark.parametrize(("joint", "own"), [(2, 1), (0, 2), (3, 0), (3, 2)])
def test_smes_mixes_joint_and_own_experts(joint, own):
    architecture, encoder, batch = build_architecture("smes", experts=5, joint=joint, own=own, hidden=[8, 3])
    perturb(architecture)
    encoded = encoder(batch)
    representations, outputs = architecture.eval()(encoded), architecture.experts(encoded.z)
    assert architecture.penalty is None
    for row in range(len(batch)):
        shares, chosen = routes(architecture, encoded.z[row].detach())
        assert len({e for experts in chosen for e in experts}) <= joint + 3 * own
        for t, task in enumerate(architecture.tasks):
            assert len(set(chosen[t])) == joint + own
            total = sum(shares[t][e] for e in chosen[t])
            expected = sum(shares[t][e] / total * outputs[row, e] for e in chosen[t])
            torch.testing.assert_close(representations[task][row], expected, **CLOSE)


def test_smes_has_one_balance_over_all_gates():
    architecture, encoder, batch = build_architecture("smes", experts=5, hidden=[4], balance=0.5)
    encoded = encoder(batch)
    architecture.train()(encoded)
    use, mean = [0.0] * 5, [0.0] * 5
    for row in range(len(batch)):
        shares, chosen = routes(architecture, encoded.z[row].detach())
        for share, experts in zip(shares, chosen, strict=True):
            for e in range(5):
                use[e] += (e in experts) / (3 * 3 * len(batch))
                mean[e] += share[e] / (3 * len(batch))
    expected = 0.5 * 5 * sum(a * p for a, p in zip(use, mean, strict=True))
    assert architecture.penalty.mean().item() == pytest.approx(expected, rel=1e-9)


def test_the_balance_of_smes_spreads_rows_over_experts():
    """The balance alone brings back experts that a router with one favourite leaves out."""
    architecture, encoder, batch = build_architecture("smes", rows=64, experts=6, joint=1, own=0, balance=1.0)
    z = encoder(batch)
    z.z = torch.randn(64, encoder.width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        architecture.router.bias.view(3, 6)[:, 2] += 3.0
    optimizer = torch.optim.Adam(architecture.router.parameters(), lr=0.05)
    most = []
    for _ in range(60):
        optimizer.zero_grad()
        architecture.train()(z)
        chosen = architecture.choose(architecture.router(z.z).unflatten(1, (3, 6)).softmax(2).detach())
        most.append((chosen.sum((0, 1)) / chosen.sum()).max().item())
        architecture.penalty.mean().backward()
        optimizer.step()
    assert most[0] > 0.9
    assert most[-1] < 0.45


def test_smes_refuses_more_experts_than_there_are():
    with pytest.raises(MtlError, match=r"architecture.joint: 4 joint and 1 own experts of 4"):
        build_architecture("smes", experts=4, joint=4, own=1)


def layer_norm(x, norm):
    x = (x - x.mean()) / (x.var(unbiased=False) + norm.eps).sqrt()
    return x * norm.weight + norm.bias


def own(layer, t, x):
    return layer.weight[t] @ x + layer.bias.view(layer.count, -1)[t]


def read(channel, t, token, others):
    """One task's token after it has read others."""
    size = len(token) // channel.heads
    query = own(channel.query, t, layer_norm(token, channel.norm))
    parts = [own(channel.source, t, layer_norm(x, channel.norm)).chunk(2) for x in others]
    heads = []
    for head in range(channel.heads):
        of = slice(head * size, (head + 1) * size)
        shares = torch.stack([query[of] @ key[of] / math.sqrt(size) for key, _ in parts]).softmax(0)
        heads.append(sum(share * value[of] for share, (_, value) in zip(shares, parts, strict=True)))
    token = token + own(channel.outer, t, torch.cat(heads))
    hidden = own(channel.wide, t, layer_norm(token, channel.feed_norm)).relu()
    return token + own(channel.narrow, t, hidden)


@pytest.mark.parametrize("tasks", [1, 3])
def test_onerank_by_its_equations(tasks):
    architecture, encoder, batch = build_architecture("onerank", tasks=tasks, token_width=8, layers=2)
    perturb(architecture)
    encoded = encoder(batch)
    representations = architecture.eval()(encoded)
    for row in range(len(batch)):
        x = architecture.tokens(encoded.z[row : row + 1]).view(1, -1, 8)
        assert x.shape[1] == 4  # user, item, scenario and price
        tokens = list(architecture.task_tokens)
        for mixer, channel in zip(architecture.mixers, architecture.channels, strict=True):
            x = mixer(x)
            tokens = [read(channel, t, token, list(x[0])) for t, token in enumerate(tokens)]
        if tasks > 1:
            tokens = [read(architecture.exchange, t, token, tokens) for t, token in enumerate(tokens)]
        for t, task in enumerate(architecture.tasks):
            torch.testing.assert_close(representations[task][row], layer_norm(tokens[t], architecture.norm), **CLOSE)


def test_tasks_of_onerank_read_each_other_and_change_nothing_there():
    architecture, encoder, batch = build_architecture("onerank", token_width=8)
    encoded = encoder(batch)
    h = architecture(encoded)
    with torch.no_grad():
        architecture.task_tokens[1] += torch.linspace(-1, 1, 8)
    moved = architecture(encoded)
    assert not torch.allclose(h["a"], moved["a"]), "the token of b is read by a"
    (gradient,) = torch.autograd.grad((moved["a"] * torch.randn_like(h["a"])).sum(), architecture.task_tokens)
    assert gradient[0].abs().sum() > 0
    assert gradient[1:].abs().sum() == 0


def test_a_cascade_of_onerank_reads_parents_alone():
    tasks = [example_task(name="click"), example_task(name="buy", parents=("click",)), example_task(name="share")]
    schema = example_schema(tasks)
    network = build_network(schema, architecture={"name": "onerank", "token_width": 8, "cascade": True})
    encoded = network.encoder(example_batch(schema))
    before = network.architecture(encoded)
    with torch.no_grad():
        network.architecture.task_tokens[0] += torch.linspace(-1, 1, 8)
    after = network.architecture(encoded)
    changed = {name for name, h in before.items() if not torch.allclose(h, after[name])}
    assert changed == {"click", "buy"}


def test_onerank_cuts_a_mixed_z_into_parts():
    schema = example_schema()
    options = {"name": "onerank", "token_width": 8, "parts": 6}
    network = build_network(schema, encoder={"name": "onetrans", "tokens": 2, "token_width": 16}, architecture=options)
    assert len(network.architecture.token_sizes(network.encoder, 6)) == 6
    assert network(example_batch(schema))["click"].shape == (12,)
    with pytest.raises(MtlError, match=r"architecture.parts: z has 32 columns, too few for 40"):
        build_network(schema, encoder={"name": "onetrans", "tokens": 1}, architecture={**options, "parts": 40})
