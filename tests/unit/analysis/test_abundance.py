"""Information abundance of embedding tables, next to a singular value decomposition."""

import math

import pytest
import torch

from mtl_lightning.analysis import abundance
from mtl_lightning.analysis.abundance import information_abundance, table_abundances
from mtl_lightning.architectures.example import example


@pytest.mark.parametrize("shape", [(40, 6), (3, 8), (500, 16)])
def test_it_is_the_sum_of_singular_values_over_the_largest(monkeypatch, shape):
    monkeypatch.setattr(abundance, "ROWS", 7)
    torch.manual_seed(0)
    rows = torch.randn(shape) @ torch.diag(torch.logspace(0, -3, shape[1]))
    singular = torch.linalg.svdvals(rows.double())
    assert information_abundance(rows) == pytest.approx(float(singular.sum() / singular.max()), rel=1e-5)


def test_rows_along_one_direction_have_one():
    torch.manual_seed(0)
    assert information_abundance(torch.randn(50, 1) @ torch.randn(1, 8)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rows", [torch.zeros(4, 3), torch.zeros(0, 3), torch.tensor([[math.nan, 1.0]])])
def test_it_is_undefined_without_values(rows):
    assert math.isnan(information_abundance(rows))


def test_each_set_of_tables_has_its_own():
    schema, encoder, _ = example(copies=2)
    with torch.no_grad():
        encoder.table.weight[encoder.rows + 1 : encoder.rows + 6] = torch.ones(5, 1) * torch.arange(4.0)
    records = {(record["table"], record["copy"]): record for record in table_abundances(encoder, schema)}
    assert len(records) == 2 * len(schema.table_sizes)
    assert records["user", 1]["abundance"] == pytest.approx(1)
    svd = torch.linalg.svdvals(encoder.table.weight[1:6].detach().double())
    assert records["user", 0]["abundance"] == pytest.approx(float(svd.sum() / svd.max()), rel=1e-6)


def test_an_encoder_that_does_not_know_its_places_has_none():
    schema, encoder, _ = example()
    encoder.table_places = lambda _: []
    assert table_abundances(encoder, schema) == []
