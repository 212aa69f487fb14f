"""RankMixer against a transcription of its paper in plain loops."""

import math

import pytest
import torch
from encoder_cases import build_encoder, encoder_batch, plain_fields

from mtl_lightning.build import build_network
from mtl_lightning.encoders.rankmixer import RankMixerBlock
from mtl_lightning.errors import MtlError
from mtl_lightning.testing import example_schema
from mtl_lightning.testing.component import perturb


def normal(values, norm):
    """Layer normalisation of a list of numbers."""
    mean = sum(values) / len(values)
    variance = sum((x - mean) ** 2 for x in values) / len(values)
    scale, shift = norm.weight.tolist(), norm.bias.tolist()
    return [g * (x - mean) / (variance + 1e-5) ** 0.5 + b for g, x, b in zip(scale, values, shift, strict=True)]


def product(weight, x, bias):
    """W x + b."""
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def gelu(x):
    """The Gaussian error linear unit."""
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def add(x, y):
    """x + y."""
    return [a + b for a, b in zip(x, y, strict=True)]


def tokens_of_paper(projection, columns, count, width):
    """The columns cut into parts, the first ones longer by one where needed, each mapped to a token."""
    matrices = [matrix for weight in projection.weights for matrix in weight.tolist()]
    biases = projection.bias.view(count, width).tolist()
    tokens, start = [], 0
    for i in range(count):
        size = len(columns) // count + (1 if i < len(columns) % count else 0)
        tokens.append(product(matrices[i], columns[start : start + size], biases[i]))
        start += size
    assert start == len(columns)
    return tokens


def block_of_paper(block, tokens):
    """Token mixing, and an FFN per token or the sum of its experts by ReLU gates, for one row."""
    count, width = len(tokens), len(tokens[0])
    size = width // count
    heads = [[value for token in tokens for value in token[h * size : (h + 1) * size]] for h in range(count)]
    mixed = [normal(add(head, token), block.mixed_norm) for head, token in zip(heads, tokens, strict=True)]
    first, _, second = block.feed_forward
    result = []
    for t, s in enumerate(mixed):
        gates, v = [1.0], [0.0] * width
        if block.experts:
            router = block.router
            scores = product(router.weight[t].tolist(), s, router.bias.view(count, -1)[t].tolist())
            gates = [max(score, 0.0) for score in scores]
        for e, gate in enumerate(gates):
            i = t * len(gates) + e
            hidden = product(first.weight[i].tolist(), s, first.bias.view(len(first.weight), -1)[i].tolist())
            biases = second.bias.view(len(second.weight), -1)[i].tolist()
            own = product(second.weight[i].tolist(), [gelu(x) for x in hidden], biases)
            v = add(v, [gate * x for x in own])
        result.append(normal(add(v, s), block.norm))
    return result


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("numeric", ["plain", "piecewise"])
@pytest.mark.parametrize(("tokens", "experts"), [(1, 0), (2, 0), (4, 0), (2, 3)])
def test_blocks_by_the_papers_equations(tokens, experts, numeric, copies):
    width = 8
    sizes = {"tokens": tokens, "token_width": width, "blocks": 2, "expansion": 3, "experts": experts}
    encoder = build_encoder("rankmixer", copies, **sizes, numeric=numeric, init_scale=1.0)
    perturb(encoder)
    z = encoder(encoder_batch()).z
    for copy, fields in enumerate(plain_fields(encoder, encoder_batch(), numeric=numeric)):
        for row in range(6):
            columns = [v for vector in fields.values() for v in vector[row].tolist()]
            state = tokens_of_paper(encoder.tokens[copy], columns, tokens, width)
            for block in encoder.blocks[copy]:
                state = block_of_paper(block, state)
            expected = torch.tensor(state, dtype=torch.float64).mean(0)
            torch.testing.assert_close(z[row, copy * width : (copy + 1) * width], expected, rtol=1e-9, atol=1e-9)


def test_columns_that_tokens_do_not_divide_are_all_used():
    encoder, rows = (
        build_encoder("rankmixer", numeric="plain", tokens=4, token_width=8, init_scale=1.0),
        encoder_batch(),
    )
    assert encoder.fields_width == 19
    assert [tuple(weight.shape) for weight in encoder.tokens[0].weights] == [(3, 8, 5), (1, 8, 4)]
    before = encoder(rows).z
    rows.vectors["text"][:, -1] += 1  # the last column
    assert not torch.allclose(encoder(rows).z, before)


def test_mixing_moves_every_value_and_undoes_itself():
    x = torch.randn(4, 3, 8)
    block = RankMixerBlock(4, 8, expansion=1)
    mixed = block.mix(x)
    assert torch.equal(mixed.transpose(0, 1).flatten(1).sort(1).values, x.transpose(0, 1).flatten(1).sort(1).values)
    assert torch.equal(block.mix(mixed), x)
    assert torch.equal(mixed[2, :, 2:4], x[1, :, 4:6])  # part 2 of token 1 is part 1 of token 2


def test_tokens_do_not_share_their_networks():
    encoder = build_encoder("rankmixer", tokens=4, token_width=8, blocks=1)
    first = encoder.blocks[0][0].feed_forward[0].weight
    assert first.shape == (4, 32, 8)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 8, "token_width": 20}, "8 doesn't divide token_width 20"),
        ({"tokens": 32, "numeric": "plain"}, "the fields have 19 columns, too few for 32 tokens"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(options, message):
    with pytest.raises(MtlError, match=f"encoder.tokens: {message}"):
        build_encoder("rankmixer", **options)


def test_architectures_that_read_parts_of_z_are_refused():
    with pytest.raises(MtlError, match="keeps fields apart"):
        build_network(example_schema(), encoder="rankmixer", architecture={"name": "poso", "priors": ["user"]})


def test_open_gates_are_an_objective_in_training_only():
    encoder = build_encoder("rankmixer", tokens=2, token_width=8, blocks=2, experts=3, sparsity=0.5)
    encoder.eval()(encoder_batch())
    assert not encoder.auxiliary
    gates = []
    for block in encoder.blocks.modules():
        if isinstance(block, RankMixerBlock):
            block.router.register_forward_hook(lambda _, __, output: gates.append(output.detach().relu()))
    encoder.train()(encoder_batch())
    part = encoder.auxiliary["open_gates"]
    assert part.weight == 0.5
    torch.testing.assert_close(part.values.detach(), sum(gate.sum((0, 2)) for gate in gates))
    before = part.values.mean().item()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        encoder(encoder_batch())
        encoder.auxiliary["open_gates"].values.mean().backward()
        for parameter in encoder.table_parameters():
            parameter.grad = None
        optimizer.step()
    assert part.values.mean().item() == before > 2 * encoder.auxiliary["open_gates"].values.mean().item()
