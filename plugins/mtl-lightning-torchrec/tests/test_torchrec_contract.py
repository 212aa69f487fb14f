"""The encoder keeps the contract of encoders, and says what it can't do. Runs where TorchRec is installed."""

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("torchrec")

from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.errors import MtlError
from mtl_lightning.testing import EncoderContract
from mtl_lightning.validation.binding import options_of
from mtl_lightning_torchrec.encoder import TorchRecEncoder
from mtl_lightning_torchrec.plugin import mtl_callbacks
from mtl_lightning_torchrec.sharding import draw


class TestTorchRec(EncoderContract):
    component = TorchRecEncoder
    options = {"width": 8, "hidden": [8]}  # so that there is a parameter: tables without a Trainer have no gradient


def batch_and_schema():
    contract = EncoderContract()
    return contract.batch(), contract.schema()


@pytest.mark.parametrize("pooling", ["mean", "sqrt"])
@pytest.mark.parametrize("copies", [1, 2])
def test_z_is_that_of_cores_encoder_with_the_same_rows(copies, pooling):
    batch, schema = batch_and_schema()
    torch.manual_seed(0)
    own, core = (kind(schema, copies, width=8, pooling=pooling) for kind in (TorchRecEncoder, EmbeddingEncoder))
    core.load_state_dict({k: v for k, v in own.state_dict().items() if k.startswith("numeric")}, strict=False)
    for copy in range(copies):
        first = copy * core.rows
        for name, size in schema.table_sizes.items():
            with torch.no_grad():
                core.table.weight[first + 1 : first + size] = own.full_tables()[f"{name}__{copy}"][1:]
            first += size - 1
    torch.testing.assert_close(own(batch).z, core(batch).z)
    assert own.slices == core.slices
    for encoder in (own, core):
        encoder.dropout, encoder.step_dropout = 0.3, 0.4
        torch.manual_seed(1)
        encoder.z = encoder.train()(batch).z
    torch.testing.assert_close(own.z, core.z)


def test_options_that_core_has_have_cores_defaults():
    own, core = options_of(TorchRecEncoder), options_of(EmbeddingEncoder)
    assert {name: own[name] for name in core} == core


def test_initial_values_do_not_depend_on_the_cut():
    whole, part = torch.empty(10_000, 8), torch.empty(3_000, 4)
    draw(whole, "1 t", 0.05, slice(0, 10_000), slice(0, 8), 8)
    draw(part, "1 t", 0.05, slice(4_000, 7_000), slice(4, 8), 8)
    assert torch.equal(part, whole[4_000:7_000, 4:])
    assert whole.std() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(
    "options", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 1.0}, {"precision": "16-mixed"}, {}]
)
def test_what_tables_updated_in_backward_cannot_do_is_an_error(options):
    settings = {"precision": "32-true", "accumulate_grad_batches": 1, "gradient_clip_val": None, **options}
    config = {"encoder": {"name": "torchrec"}, "run": {"init_from": None if options else "runs/old"}}
    (limits,) = mtl_callbacks(config)
    with pytest.raises(MtlError, match="encoder torchrec"):
        limits.setup(SimpleNamespace(**settings), None, "fit")
    limits.setup(SimpleNamespace(**settings), None, "test")
    assert mtl_callbacks({**config, "encoder": {"name": "embedding"}}) == []


def test_widths_and_optimizers_without_a_kernel_are_errors():
    _, schema = batch_and_schema()
    with pytest.raises(MtlError, match="multiples of 4"):
        TorchRecEncoder(schema, 1, width=6)
    with pytest.raises(MtlError, match="lazy_adam"):
        TorchRecEncoder(schema, 1).distribute(torch.device("cpu"), optimizer="lazy_adam", lr=0.1, eps=1e-8)
    torch.distributed.destroy_process_group()
