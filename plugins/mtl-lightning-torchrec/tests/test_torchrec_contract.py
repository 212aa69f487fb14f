"""The encoder keeps the contract of encoders, and says what it can't do. Runs where TorchRec is installed."""

import pytest
import torch

pytest.importorskip("torchrec")

from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.errors import MtlError
from mtl_lightning.testing import EncoderContract
from mtl_lightning_torchrec.encoder import TorchRecEncoder
from mtl_lightning_torchrec.plugin import mtl_callbacks


class TestTorchRec(EncoderContract):
    component = TorchRecEncoder
    options = {"width": 8, "hidden": [8]}  # so that there is a parameter: tables without a Trainer have no gradient


def batch_and_schema():
    contract = EncoderContract()
    return contract.batch(), contract.schema()


@pytest.mark.parametrize("copies", [1, 2])
def test_z_is_that_of_cores_encoder_with_the_same_rows(copies):
    batch, schema = batch_and_schema()
    torch.manual_seed(0)
    own, core = TorchRecEncoder(schema, copies, width=8), EmbeddingEncoder(schema, copies, width=8)
    for copy in range(copies):
        first = copy * core.rows
        for name, size in schema.table_sizes.items():
            with torch.no_grad():
                core.table.weight[first + 1 : first + size] = own.whole()[f"{name}__{copy}"][1:]
            first += size - 1
    torch.testing.assert_close(own(batch).z, core(batch).z)
    assert own.slices == core.slices


def test_initial_values_do_not_depend_on_the_cut():
    _, schema = batch_and_schema()
    encoder = TorchRecEncoder(schema, 1, width=8)
    whole, part = torch.empty(10_000, 8), torch.empty(3_000, 4)
    encoder._draw("t", slice(0, 10_000), slice(0, 8), whole)
    encoder._draw("t", slice(4_000, 7_000), slice(4, 8), part)
    assert torch.equal(part, whole[4_000:7_000, 4:])
    assert whole.std() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(
    "trainer", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 1.0}, {"precision": "16-mixed"}]
)
def test_what_tables_updated_in_backward_cannot_do_is_an_error(trainer):
    with pytest.raises(MtlError, match="torchrec updates tables"):
        mtl_callbacks({"encoder": {"name": "torchrec"}, "trainer": trainer})
    assert mtl_callbacks({"encoder": {"name": "embedding"}, "trainer": trainer}) == []


def test_widths_and_optimizers_without_a_kernel_are_errors():
    _, schema = batch_and_schema()
    with pytest.raises(MtlError, match="multiples of 4"):
        TorchRecEncoder(schema, 1, width=6)
    with pytest.raises(MtlError, match="lazy_adam"):
        TorchRecEncoder(schema, 1).distribute(torch.device("cpu"), optimizer="lazy_adam", lr=0.1, eps=1e-8)
    torch.distributed.destroy_process_group()
