"""Wukong against a transcription of its paper in plain loops."""

import pytest
import torch
from encoder_cases import MIXERS, build_encoder, encoder_batch, plain_fields

from mtl_lightning.errors import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Field, Schema
from mtl_lightning.testing import example_batch, example_schema
from mtl_lightning.testing.component import perturb


def normal(values, norm):
    """Layer normalisation of a list of numbers."""
    mean = sum(values) / len(values)
    variance = sum((x - mean) ** 2 for x in values) / len(values)
    scale, shift = norm.weight.tolist(), norm.bias.tolist()
    return [g * (x - mean) / (variance + 1e-5) ** 0.5 + b for g, x, b in zip(scale, values, shift, strict=True)]


def dense(layer, x):
    """W x + b."""
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [sum(w * v for w, v in zip(row, x, strict=True)) + bias for row, bias in rows]


def mixture(layer, tokens):
    """Linear mixtures W X of tokens."""
    width = len(tokens[0])
    return [
        [sum(w * token[c] for w, token in zip(row, tokens, strict=True)) for c in range(width)]
        for row in layer.weight.tolist()
    ]


def layer_of_paper(layer, tokens, rank):
    """LN(concat(FMB(X), LCB(X)) + X) for one row, with the n × n products of the plain factorisation machine."""
    width = len(tokens[0])
    products = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in tokens] for x in tokens]
    if rank:
        matrix = layer.partners.weight.T.tolist()  # Y [n, k]
        products = [[sum(row[j] * matrix[j][k] for j in range(len(tokens))) for k in range(rank)] for row in products]
    norm, mlp, last = layer.products
    x = normal([p for row in products for p in row], norm)
    x = dense(last, [max(v, 0) for v in dense(mlp.layers[0], x)])
    together = [x[i : i + width] for i in range(0, len(x), width)] + mixture(layer.mixtures, tokens)
    residual = mixture(layer.residual, tokens) if layer.residual is not None else tokens
    return [
        normal([a + b for a, b in zip(token, other, strict=True)], layer.norm)
        for token, other in zip(together, residual, strict=True)
    ]


def tokens_of_paper(encoder, copy, fields, row):
    """A token per field; fields after the unmapped ones have a linear layer each."""
    tokens = [vector[row].tolist() for vector in fields.values()]
    projection = encoder.tokens[copy].projection
    if projection is None:
        return tokens
    maps = [matrix for weight in projection.weights for matrix in weight.tolist()]
    first = len(tokens) - len(maps)
    biases = projection.bias.view(len(maps), -1).tolist()
    for i, (matrix, bias) in enumerate(zip(maps, biases, strict=True), start=first):
        tokens[i] = [sum(w * v for w, v in zip(line, tokens[i], strict=True)) + b
                     for line, b in zip(matrix, bias, strict=True)]  # fmt: skip
    return tokens


FIELD_OPTIONS = {
    "plain": ({"numeric": "plain"}, 2),
    "wider numbers": ({"numeric_width": 5}, 2),
    "numbers as wide as tokens": ({"numeric_width": 4}, 1),
    "projection": ({"projection": 3}, 0),
}
"""Options of the fields, and the number of fields that get a linear layer: numbers and the vector, or the vector."""


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(("options", "mapped"), FIELD_OPTIONS.values(), ids=FIELD_OPTIONS)
def test_layers_by_the_papers_equations(options, mapped, copies, rank):
    # Six fields: the first layer brings them to five tokens, the second keeps their number.
    encoder = build_encoder(
        "wukong", copies, fm_tokens=2, linear_tokens=3, rank=rank, fm_hidden=[7], init_scale=1.0, **options
    )
    perturb(encoder)
    first, second = encoder.layers[0]
    assert first.residual is not None
    assert second.residual is None
    z = encoder(encoder_batch()).z
    for copy, fields in enumerate(plain_fields(encoder, encoder_batch(), **options)):
        projection = encoder.tokens[copy].projection
        assert (0 if projection is None else sum(len(weight) for weight in projection.weights)) == mapped
        for row in range(6):
            tokens = tokens_of_paper(encoder, copy, fields, row)
            for layer in encoder.layers[copy]:
                tokens = layer_of_paper(layer, tokens, rank)
            expected = torch.tensor([v for token in tokens for v in token], dtype=torch.float64)
            width = len(expected)
            torch.testing.assert_close(z[row, copy * width : (copy + 1) * width], expected, rtol=1e-9, atol=1e-9)


def test_a_layer_multiplies_fields():
    """One layer has the product of two fields: its mixed second derivative is not zero although W and LN are linear."""
    encoder = build_encoder("wukong", layers=1, fm_hidden=[], init_scale=1.0)
    layer = encoder.layers[0][0]
    tokens = torch.randn(1, 6, 4, dtype=torch.float64, requires_grad=True)
    products = torch.bmm(tokens, layer.partners(tokens.transpose(1, 2)))
    (slope,) = torch.autograd.grad(products[0, 0].sum(), tokens, create_graph=True)
    (mixed,) = torch.autograd.grad(slope[0, 0, 0], tokens)
    assert (mixed[0, 1:].abs() > 0).any()


@pytest.mark.parametrize("options", [{"width": 1}, {"projection": 1}])
def test_tokens_of_one_column_are_refused(options):
    with pytest.raises(MtlError, match="at least 2 columns"):
        build_encoder("wukong", **options)


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_encoders_that_mix_fields_need_some(name):
    with pytest.raises(MtlError, match="encoder: needs features"):
        registry().resolve("encoder", name)(Schema((), ()), 1)


def test_histories_are_tokens_as_they_are():
    schema = example_schema(kinds=("categorical", "history"))
    encoder = registry().resolve("encoder", "wukong")(schema, 1, width=4)
    assert encoder.tokens[0].projection is None
    assert encoder(example_batch(schema)).z.shape == (12, 64)


def test_one_field_is_enough():
    schema = Schema((Field(name="user", kind="categorical", size=7, table="user"),), ())
    assert registry().resolve("encoder", "wukong")(schema, 1).width == 256
