"""Encoders of long histories against the equations of their papers, written as loops over rows, heads and events."""

import math
from dataclasses import replace

import pytest
import torch

from mtl_lightning.batch import Batch
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Schema
from mtl_lightning.testing import example_batch, example_requests, example_schema
from mtl_lightning.testing.component import perturb

SCHEMA = example_schema(kinds=["categorical", "numeric", "history"])
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def build(name: str, copies: int = 1, schema: Schema = SCHEMA, **options: object) -> EmbeddingEncoder:
    """An encoder in float64 whose weights are all far from their start."""
    torch.manual_seed(0)
    kind = registry().resolve("encoder", name)
    encoder: EmbeddingEncoder = kind(schema, copies, width=4, init_scale=1.0, **options).double().eval()
    perturb(encoder)
    with torch.no_grad():
        for copy in range(copies):
            encoder.table.weight[copy * encoder.rows] = 0.0
    return encoder


@pytest.fixture
def batch() -> Batch:
    rows = example_batch(SCHEMA, rows=18, seed=5)
    return rows.map(lambda x: x.double() if x.is_floating_point() else x)


def embedding(encoder, table, code, copy=0):
    (places,) = encoder.table_places(SCHEMA)
    return encoder.table.weight[places[table][copy] + code] if code else torch.zeros(4, dtype=torch.float64)


def event(encoder, batch, row, place, copy=0):
    """All that one click carries: two ids, a price and a gap."""
    steps, (item, shop, price) = batch.steps["clicks"], SCHEMA.field("clicks").steps
    prices, gaps = encoder.step_buckets[copy][0].weights
    gap, number = float(steps.gap[row, place]), float(steps.numbers[row, place, 0])
    return (
        embedding(encoder, item.table, int(steps.ids[row, place, 0]), copy)
        + embedding(encoder, shop.table, int(steps.ids[row, place, 1]), copy)
        + prices[sum(number >= edge for edge in price.edges)]
        + gaps[0 if gap < 1 else 1 + math.floor(math.log2(gap))]
    )


def events(encoder, batch, row, copy=0):
    return [event(encoder, batch, row, j, copy) for j in range(int(batch.steps["clicks"].length[row]))]


def item_of(encoder, batch, row, copy=0):
    return embedding(encoder, "item", int(batch.id("item")[row]), copy)


def items_of(encoder, batch, row, copy=0):
    """Embeddings of the ids that click and row share: the item's."""
    ids = batch.steps["clicks"].ids[row, :, 0].tolist()
    return [embedding(encoder, "item", code, copy) for code in ids[: int(batch.steps["clicks"].length[row])]]


def clicks_of(encoder, batch, copy=0):
    part = SCHEMA.field("clicks").name
    z = encoder(batch)
    return z.copy(copy)[:, encoder.slices[part]]


def silu(x):
    return x / (1 + torch.exp(-x))


def layer_norm(x, norm):
    x = (x - x.mean()) / (x.var(unbiased=False) + norm.eps).sqrt()
    return x * norm.weight + norm.bias


def hstu_of_paper(layer, tokens, times):
    """One layer over the tokens of a row in the order of time."""
    count, width = len(tokens), len(tokens[0])
    size = width // layer.heads
    parts = [silu(layer.inner.weight @ layer_norm(x, layer.norm) + layer.inner.bias).split(width) for x in tokens]
    result = []
    for i in range(count):
        attended = torch.zeros(width, dtype=torch.float64)
        for head in range(layer.heads):
            of = slice(head * size, (head + 1) * size)
            for j in range(i + 1):
                score = parts[i][2][of] @ parts[j][3][of] + layer.place_bias[i - j]
                if times is not None:
                    score = score + layer.time_bias[math.floor(math.log(max(1.0, times[i] - times[j])) / 0.301)]
                attended[of] = attended[of] + silu(score) * parts[j][1][of]
        y = layer_norm(attended, layer.attended_norm) * parts[i][0]
        result.append(tokens[i] + layer.outer.weight @ y + layer.outer.bias)
    return result


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("layers", [1, 3])
def test_hstu(batch, layers, copies):
    encoder = build("hstu", copies, layers=layers)
    for copy in range(copies):
        result = clicks_of(encoder, batch, copy)
        blocks = encoder.layers[copy * len(encoder.numbers) + encoder.numbers["clicks"]]
        for row in range(len(batch)):
            tokens = [*events(encoder, batch, row, copy), item_of(encoder, batch, row, copy)]
            times = [*(-batch.steps["clicks"].gap[row, : len(tokens) - 1]).tolist(), 0.0]
            for block in blocks:
                tokens = hstu_of_paper(block, tokens, times)
            torch.testing.assert_close(result[row], tokens[-1], **CLOSE)


@pytest.mark.parametrize("copies", [1, 2])
def test_hstu_predicts_the_next_event(batch, copies, monkeypatch):
    encoder = build("hstu", copies, next_action=0.5, next_negatives=50).train()
    parts = {}
    monkeypatch.setattr(encoder, "predict_next", lambda field, copy, *rest: parts.update({(field, copy): rest}))
    encoder(batch)
    clicks = SCHEMA.field("clicks")
    table, size = clicks.steps[0].table, clicks.steps[0].size
    ids = batch.steps["clicks"].ids[:, :, 0]
    for copy in range(copies):
        number = copy * len(encoder.numbers) + encoder.numbers["clicks"]
        following, values = (
            encoder.following[number].outer,
            encoder.next_loss(batch, clicks, copy, *parts[clicks, copy]),
        )
        vectors = torch.stack([embedding(encoder, table, code, copy) for code in range(2, size)])
        for row in range(len(batch)):
            tokens = events(encoder, batch, row, copy)
            times = (-batch.steps["clicks"].gap[row, : len(tokens)]).tolist()
            for block in encoder.layers[number] if tokens else ():
                tokens = hstu_of_paper(block, tokens, times)
            terms = []
            for token, code in zip(tokens, ids[row, 1 : len(tokens)].tolist(), strict=False):
                if code >= 2:
                    mapped = following.weight @ token + following.bias
                    logits = vectors @ mapped / vectors.norm(dim=1) / mapped.norm() / 0.05
                    terms.append(torch.log(torch.exp(logits).sum()) - logits[code - 2])
            expected = sum(terms) / len(terms) if terms else torch.zeros((), dtype=torch.float64)
            torch.testing.assert_close(values[row], expected, **CLOSE)


def attention_of_paper(attention, target, steps):
    """Multi-head target attention with keys and values written out."""
    if not steps:
        return torch.zeros_like(target)
    size = len(target) // attention.heads
    heads = []
    for head in range(attention.heads):
        of = slice(head * size, (head + 1) * size)
        query = attention.query.weight[of] @ target
        scores = torch.stack([query @ (attention.key.weight[of] @ e) / math.sqrt(size) for e in steps])
        shares = torch.exp(scores) / torch.exp(scores).sum()
        heads.append(sum(share * (attention.value.weight[of] @ e) for share, e in zip(shares, steps, strict=True)))
    return attention.outer.weight @ torch.cat(heads)


def latest_best(scores, top):
    """Places of the ``top`` largest scores; of equal ones, which differ by rounding alone, the latest."""
    order = sorted(range(len(scores)), key=lambda j: (round(scores[j], 9), j), reverse=True)
    return sorted(order[:top])


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("top", [2, 5, 20])
@pytest.mark.parametrize("name", ["soft", "hard", "eta"])
def test_search_then_attention(batch, name, top, copies):
    options = {"soft": {}, "hard": {"search": "hard", "category": "item"}, "eta": {"bits": 12}}[name]
    if name == "hard":  # some events with the item at hand
        ids = batch.steps["clicks"].ids
        ids[:, ::3, 0] = torch.where(ids[:, ::3, 0] > 0, batch.id("item").unsqueeze(1), 0)
    encoder = build("eta" if name == "eta" else "sim", copies, top=top, **options)
    longer = 0
    for copy in range(copies):
        result = clicks_of(encoder, batch, copy)
        attention = encoder.attention[copy * len(encoder.targets) + list(encoder.targets).index("clicks")]
        for row in range(len(batch)):
            target, items = item_of(encoder, batch, row, copy), items_of(encoder, batch, row, copy)
            steps = events(encoder, batch, row, copy)
            chosen = list(range(len(steps)))
            if batch.steps["clicks"].ids.shape[1] > top:
                if name == "hard":
                    wanted = int(batch.id("item")[row])
                    ids = batch.steps["clicks"].ids[row, :, 0].tolist()
                    chosen = [j for j in chosen if wanted and ids[j] == wanted][-top:]
                elif name == "soft":
                    scores = [
                        float((attention.key.weight @ e).detach() @ (attention.query.weight @ target)) for e in items
                    ]
                    chosen = latest_best(scores, top)
                else:
                    bits = [[float(e.detach() @ h) > 0 for h in encoder.hashes.T] for e in [*items, target]]
                    near = [-sum(a != b for a, b in zip(code, bits[-1], strict=True)) for code in bits[:-1]]
                    chosen = latest_best(near, top)
            longer += len(chosen) < len(steps)
            want = attention_of_paper(attention, target, [steps[j] for j in chosen])
            torch.testing.assert_close(result[row], want, **CLOSE)
    assert longer or top == 20


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(("rounds", "bits"), [(16, 3), (5, 1)])
def test_sdim(batch, rounds, bits, copies):
    encoder = build("sdim", copies, rounds=rounds, bits=bits)
    collisions = 0
    for copy in range(copies):
        result = clicks_of(encoder, batch, copy)
        for row in range(len(batch)):
            codes = [
                [[float(e.detach() @ h) > 0 for h in encoder.hashes.T[r::rounds]] for r in range(rounds)]
                for e in [*items_of(encoder, batch, row, copy), item_of(encoder, batch, row, copy)]
            ]
            want = torch.zeros(4, dtype=torch.float64)
            for r in range(rounds):
                carried = batch.steps["clicks"].ids[row, :, 0].tolist()
                same = [
                    e
                    for e, code, item in zip(events(encoder, batch, row, copy), codes, carried, strict=False)
                    if item and code[r] == codes[-1][r]
                ]
                collisions += len(same)
                total = sum(same, torch.zeros(4, dtype=torch.float64))
                if total.norm() > 0:
                    want = want + total / total.norm() / rounds
            torch.testing.assert_close(result[row], want, **CLOSE)
    assert collisions > 0


@pytest.mark.parametrize(("copies", "bits"), [(1, 1), (2, 2)])
def test_requests_share_the_bucket_sums_of_sdim(monkeypatch, copies, bits):
    """Rows of a request read sums that are formed once: z and gradients are the same as from own sums."""
    reverse = replace(SCHEMA, fields=SCHEMA.fields[::-1])  # of two histories the second is constant: clicks
    requests = example_requests(example_batch(reverse, rows=18, seed=5))
    requests = requests.map(lambda x: x.double() if x.is_floating_point() else x)
    encoder = build("sdim", copies, requests.schema, rounds=5, bits=bits)
    sums, formed = encoder.bucket_sums, []
    monkeypatch.setattr(encoder, "bucket_sums", lambda *parts: formed.append(len(parts[0])) or sums(*parts))
    results = []
    for rows in (requests, requests.expand()):
        z = encoder(rows).z
        gradients = torch.autograd.grad(z.square().sum(), list(encoder.parameters()))
        results.append((z, *(part.to_dense() for part in gradients)))
    assert formed == [6] * copies
    for once, alone in zip(*results, strict=True):
        torch.testing.assert_close(once, alone, **CLOSE)


def test_collisions_of_sdim_estimate_the_angle():
    """An event at angle θ collides in a round with probability (1 − θ/π)^τ."""
    torch.manual_seed(0)
    encoder = registry().resolve("encoder", "sdim")(SCHEMA, 1, width=2, rounds=20_000, bits=2)
    angles = torch.tensor([0.0, 0.3, 1.0, 2.0, math.pi])
    result = encoder.collisions(torch.stack([angles.cos(), angles.sin()], 1)[None], torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(result[0].float().mean(1), (1 - angles / math.pi) ** 2, rtol=0, atol=0.015)


def rms_norm(x, norm):
    return x / (x.square().mean() + norm.eps).sqrt() * norm.weight


def mixed(layer, i, steps, x):
    """The map of token i, of which the first ``steps`` are steps."""
    if i < steps:
        return layer.steps_map.weight @ x + layer.steps_map.bias
    own = layer.fields_map
    return own.weight[i - steps] @ x + own.bias.view(own.count, -1)[i - steps]


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def onetrans_of_paper(block, tokens, steps, first):
    """One layer over the tokens of a row; the result has the tokens from ``first`` on."""
    width = len(tokens[0])
    size = width // block.heads
    normal = [rms_norm(x, block.norm) for x in tokens]
    parts = [mixed(block.inner, i, steps, x).split(width) for i, x in enumerate(normal)]
    result = []
    for i in range(first, len(tokens)):
        heads = []
        for head in range(block.heads):
            of = slice(head * size, (head + 1) * size)
            scores = torch.stack([parts[i][0][of] @ parts[j][1][of] / math.sqrt(size) for j in range(i + 1)])
            shares = torch.exp(scores) / torch.exp(scores).sum()
            heads.append(sum(share * parts[j][2][of] for j, share in enumerate(shares)))
        x = tokens[i] + mixed(block.outer, i, steps, torch.cat(heads))
        hidden = gelu(mixed(block.wide, i, steps, rms_norm(x, block.feed_norm)))
        result.append(x + mixed(block.narrow, i, steps, hidden))
    return result


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(("pyramid", "blocks"), [(True, 3), (False, 2), (True, 1)])
def test_onetrans(batch, pyramid, blocks, copies):
    count, width = 3, 8
    encoder = build("onetrans", copies, tokens=count, token_width=width, blocks=blocks, pyramid=pyramid)
    z = encoder(batch)
    longest = SCHEMA.field("clicks").length + SCHEMA.field("visits").length + 1
    for copy in range(copies):
        for row in range(len(batch)):
            visits = batch.steps["visits"].ids[row, : int(batch.steps["visits"].length[row]), 0].tolist()
            sequences = [
                events(encoder, batch, row, copy),
                [embedding(encoder, "visits.shop", code, copy) for code in visits],
            ]
            tokens = []
            for i, steps in enumerate(sequences):
                if i:
                    tokens.append(encoder.separators[copy])
                layer, places = encoder.step_maps[2 * copy + i], encoder.places[2 * copy + i]
                for j, e in enumerate(steps):
                    tokens.append(layer.weight @ e + layer.bias + places[len(steps) - 1 - j])
            columns = torch.cat(
                [
                    embedding(encoder, "user", int(batch.id("user")[row]), copy),
                    item_of(encoder, batch, row, copy),
                    encoder.numeric[copy](batch.dense[row : row + 1])[0],
                ]
            )
            fields = encoder.split[copy].weight @ columns + encoder.field_bias[copy]
            steps, tokens = len(tokens), [*tokens, *fields.split(width)]
            for layer, block in enumerate(encoder.blocks[copy], start=1):
                passed = 0 if layer == blocks else longest
                if pyramid:
                    passed = math.ceil(longest * (blocks - layer) / blocks)
                first = max(steps - passed, 0)
                tokens = onetrans_of_paper(block, tokens, steps, first)
                steps -= first
            assert steps == 0
            want = torch.cat([rms_norm(x, encoder.norms[copy]) for x in tokens])
            torch.testing.assert_close(z.copy(copy)[row], want, **CLOSE)
