"""Wrong options of architectures are reported before anything runs; right ones leave no parameter without use."""

import pytest

from mtl_lightning.architectures.cgc import CGC
from mtl_lightning.architectures.dselect_k import DSelectK
from mtl_lightning.architectures.example import example
from mtl_lightning.architectures.home import HoME
from mtl_lightning.architectures.mmoe import MMoE
from mtl_lightning.architectures.pepnet import PEPNet
from mtl_lightning.architectures.poso import POSO
from mtl_lightning.architectures.single_task import SingleTask
from mtl_lightning.architectures.sluice import Sluice
from mtl_lightning.architectures.star import STAR
from mtl_lightning.architectures.stem import STEM
from mtl_lightning.build import build_network
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.validation.binding import options_of


@pytest.mark.parametrize(
    "wrong",
    [
        lambda schema, encoder: PEPNet(schema, encoder, scenario="scenari"),
        lambda schema, encoder: STAR(schema, encoder, scenario="price"),
        lambda schema, encoder: POSO(schema, encoder, priors=["nobody"]),
        lambda schema, encoder: HoME(schema, encoder, groups=[["a"]]),
        lambda schema, encoder: HoME(schema, encoder, groups=[["a", "b"], []]),
        lambda schema, encoder: HoME(schema, encoder, hidden=[]),
        lambda schema, encoder: DSelectK(schema, encoder, hidden=[]),
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


WITHOUT_LAYERS = ("shared_bottom", "cross_stitch", "mtan", "star", "poso", "pepnet", "dbmtl", "tabm")


@pytest.mark.parametrize("name", sorted(registry().names("architecture")))
def test_no_layers_leave_no_parameter_without_a_gradient(name):
    """Such a parameter ends a run on several processes at its second step."""
    kind = registry().resolve("architecture", name)
    if "hidden" not in options_of(kind):
        pytest.skip("it has no option 'hidden'")
    schema, encoder, batch = example(3, copies=kind.table_copies(3))
    if name not in WITHOUT_LAYERS:
        with pytest.raises(MtlError, match="layer"):
            kind(schema, encoder, hidden=[])
        return
    built = kind(schema, encoder, hidden=[])
    sum(h.square().sum() for h in built(encoder(batch)).values()).backward()
    assert [key for key, parameter in built.named_parameters() if parameter.grad is None] == []


def test_a_scenario_needs_no_part_of_z():
    schema, _, batch = example(2)
    mixed = type(example()[1])(schema, 1, width=4, hidden=[8])
    built = STAR(schema, mixed, scenario="scenario", hidden=[8])
    assert built(mixed(batch))["a"].shape == (4, 8)


@pytest.mark.parametrize(
    ("name", "options", "place"),
    [
        ("mmoe", {"experts": 0}, "experts"),
        ("mmoe", {"gate_dropout": 1.0}, "gate_dropout"),
        ("mmoe", {"hidden": [64, 0]}, "hidden.1"),
        ("mmoe", {"dropout": float("nan")}, "dropout"),
        ("dselect_k", {"experts": 0}, "experts"),
        ("dselect_k", {"selected": 0}, "selected"),
        ("dselect_k", {"gamma": 0}, "gamma"),
        ("adatt", {"own_experts": 0}, "own_experts"),
        ("adatt", {"levels": 0}, "levels"),
        ("ple", {"levels": 0}, "levels"),
        ("sluice", {"layers": 0}, "layers"),
        ("sluice", {"subspaces": 0}, "subspaces"),
        ("mtan", {"attention": 0}, "attention"),
        ("home", {"rank": 0}, "rank"),
        ("home", {"maps": 0}, "maps"),
        ("mmoe", {"expert": 4}, "expert"),
    ],
)
def test_numbers_out_of_bounds_are_told_with_their_place(name, options, place):
    schema, _, _ = example(2)
    with pytest.raises(ConfigError) as report:
        build_network(schema, architecture={"name": name, **options})
    assert [problem.path for problem in report.value.problems] == [f"architecture.{place}"]
