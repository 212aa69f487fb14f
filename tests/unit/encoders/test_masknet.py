"""MaskNet against a transcription of its paper in plain loops."""

import pytest
import torch
from encoder_cases import build_encoder, encoder_batch, plain_fields

from mtl_lightning.build import build_network
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.testing import example_schema
from mtl_lightning.testing.component import perturb


def normal(values):
    """Layer normalisation of a list of numbers."""
    mean = sum(values) / len(values)
    variance = sum((x - mean) ** 2 for x in values) / len(values)
    return [(x - mean) / (variance + 1e-5) ** 0.5 for x in values]


def product(weight, x, bias=None):
    """W x + b of nested lists."""
    return [sum(w * v for w, v in zip(row, x, strict=True)) + (bias[i] if bias else 0) for i, row in enumerate(weight)]


def block_of_paper(layer, number, guide, x):
    """One mask block for one row; ``x`` is the normalised fields, or the output of the block before."""

    def part(parameter, width):
        return parameter[number * width : (number + 1) * width].tolist()

    first, second, width = layer.mask[0], layer.mask[2], layer.linear.out_width
    hidden = product(first.weight[number].tolist(), guide, part(first.bias, first.out_width))
    mask = product(second.weight[number].tolist(), [max(v, 0) for v in hidden], part(second.bias, len(x)))
    mixed = normal(product(layer.linear.weight[number].tolist(), [m * v for m, v in zip(mask, x, strict=True)]))
    scale, shift = part(layer.norm.weight, width), part(layer.norm.bias, width)
    return [max(g * v + b, 0) for g, v, b in zip(scale, mixed, shift, strict=True)]


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("numeric", ["plain", "piecewise"])
@pytest.mark.parametrize("arrangement", ["parallel", "serial"])
def test_blocks_by_the_papers_equations(arrangement, numeric, copies):
    options = {"blocks": 3, "block_width": 5, "reduction": 2}
    encoder = build_encoder("masknet", copies, arrangement=arrangement, numeric=numeric, init_scale=1.0, **options)
    perturb(encoder)
    z = encoder(encoder_batch()).z
    for copy, fields in enumerate(plain_fields(encoder, encoder_batch(), numeric=numeric)):
        layers, norm = encoder.blocks[copy], encoder.norms[copy]
        for row in range(6):
            vectors = [vector[row].tolist() for vector in fields.values()]
            guide = [v for vector in vectors for v in vector]
            together = [v for vector in vectors for v in (normal(vector) if len(vector) > 1 else vector)]

            def embedded(number, together=together, norm=norm):
                columns = slice(number * len(together), (number + 1) * len(together))
                scale, shift = norm.scale[columns].tolist(), norm.shift[columns].tolist()
                return [g * v + b for g, v, b in zip(scale, together, shift, strict=True)]

            if arrangement == "parallel":
                expected = [v for i in range(3) for v in block_of_paper(layers[0], i, guide, embedded(i))]
            else:
                expected = embedded(0)
                for layer in layers:
                    expected = block_of_paper(layer, 0, guide, expected)
            width = len(expected)
            expected = torch.tensor(expected, dtype=torch.float64)
            torch.testing.assert_close(z[row, copy * width : (copy + 1) * width], expected, rtol=1e-9, atol=1e-9)


def test_a_number_keeps_its_size_without_an_encoding():
    encoder, rows = build_encoder("masknet", numeric="plain"), encoder_batch()
    with torch.no_grad():
        for layer in encoder.blocks[0]:
            layer.mask[2].weight.zero_()  # the number reaches the blocks only through what is masked
            layer.mask[2].bias.fill_(1.0)
    before = encoder(rows).z
    rows.dense *= 2
    assert not torch.allclose(encoder(rows).z, before)


@pytest.mark.parametrize("architecture", ["stem", {"name": "poso", "priors": ["user"]}])
def test_architectures_that_read_parts_of_z_are_refused(architecture):
    with pytest.raises(MtlError, match="keeps fields apart"):
        build_network(example_schema(), encoder="masknet", architecture=architecture)


def test_a_block_of_one_column_is_refused():
    with pytest.raises(ConfigError, match=r"encoder\.block_width: is 1, and must be at least 2"):
        build_network(example_schema(), encoder={"name": "masknet", "block_width": 1})
