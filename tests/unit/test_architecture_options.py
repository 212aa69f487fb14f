"""Wrong options of architectures are told before anything runs."""

import pytest

from mtl_lightning.architectures.cgc import CGC
from mtl_lightning.architectures.example import example
from mtl_lightning.architectures.home import HoME
from mtl_lightning.architectures.mmoe import MMoE
from mtl_lightning.architectures.pepnet import PEPNet
from mtl_lightning.architectures.poso import POSO
from mtl_lightning.architectures.single_task import SingleTask
from mtl_lightning.architectures.sluice import Sluice
from mtl_lightning.architectures.star import STAR
from mtl_lightning.architectures.stem import STEM
from mtl_lightning.errors import MtlError


@pytest.mark.parametrize(
    "wrong",
    [
        lambda schema, encoder: PEPNet(schema, encoder, scenario="scenari"),
        lambda schema, encoder: STAR(schema, encoder, scenario="price"),
        lambda schema, encoder: POSO(schema, encoder, priors=["nobody"]),
        lambda schema, encoder: HoME(schema, encoder, groups=[["a"]]),
        lambda schema, encoder: Sluice(schema, encoder, width=5, subspaces=2),
        lambda schema, encoder: MMoE(schema, encoder, experts=0),
        lambda schema, encoder: CGC(schema, encoder, hidden=[]),
    ],
)
def test_wrong_options_are_told(wrong):
    schema, encoder, _ = example(2)
    with pytest.raises(MtlError):
        wrong(schema, encoder)


@pytest.mark.parametrize("kind", [STEM, SingleTask])
def test_mixed_fields_leave_no_table_sets(kind):
    schema, _, _ = example(2)
    options = {"share_tables": False} if kind is SingleTask else {}
    mixed = type(example()[1])(schema, 3, width=4, hidden=[8])
    with pytest.raises(MtlError, match=r"encoder\.hidden"):
        kind(schema, mixed, **options)
