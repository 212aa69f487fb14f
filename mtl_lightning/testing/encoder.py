"""The contract of encoders."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from mtl_lightning.batch import Batch
from mtl_lightning.interfaces import Encoder, MtlError, Schema
from mtl_lightning.testing.component import ComponentContract, check_gradients, mix, perturb, restored
from mtl_lightning.testing.example import example_batch, example_requests, example_schema

FIELDS = (
    ("categorical", "numeric", "sequence", "vector"),
    ("categorical",),
    ("numeric",),
    ("categorical", "sequence"),
    ("numeric", "vector"),
)
HISTORIES = (("categorical", "numeric", "history"), ("history",))
"""Fields that an encoder reads or refuses; it must not leave them out in silence."""


class EncoderContract(ComponentContract):
    """Tests of an encoder; override ``schema`` if it needs particular fields."""

    context = 2
    auxiliary_options: ClassVar[Mapping[str, Any]] = {}
    """Options with which the encoder sets auxiliary objectives; empty if it has none without its ``options``."""

    def schema(self) -> Schema:
        """A schema that the encoder can serve."""
        return example_schema(kinds=FIELDS[0])

    def build(self, schema: Schema | None = None, copies: int = 1, **options: Any) -> Encoder:
        """A fresh encoder in evaluation mode."""
        encoder: Encoder = self.construct(schema or self.schema(), copies, **options).eval()
        return encoder

    def batch(self, schema: Schema | None = None, rows: int = 12) -> Batch:
        """A batch for :meth:`schema`."""
        return example_batch(schema or self.schema(), rows)

    @pytest.mark.parametrize("kinds", FIELDS, ids="+".join)
    def test_any_kinds_of_fields_give_a_finite_z(self, kinds: tuple[str, ...]) -> None:
        schema = example_schema(kinds=kinds) if type(self).schema is EncoderContract.schema else self.schema()
        encoder = self.build(schema)
        z = encoder(self.batch(schema)).z
        assert z.shape == (12, encoder.width)
        assert torch.isfinite(z).all()

    @pytest.mark.parametrize("kinds", HISTORIES, ids="+".join)
    def test_histories_are_read_or_refused(self, kinds: tuple[str, ...]) -> None:
        schema = example_schema(kinds=kinds)
        batch = self.batch(schema)
        refusal = None
        try:
            encoder = self.build(schema, copies=2).train()
        except MtlError as error:
            refusal = error.message
        if refusal is not None:
            assert "histor" in refusal, "an encoder that reads no histories says so"
            return
        z = encoder(batch).z
        assert z.shape == (12, encoder.width)
        mix(z).backward()
        check_gradients(encoder)
        encoder.eval()
        z = encoder(batch).z
        for name, steps in batch.steps.items():
            empty = {**batch.steps, name: steps.map(torch.zeros_like)}
            assert not torch.equal(z, encoder(replace(batch, steps=empty)).z), f"z doesn't depend on {name}"
            longer = {**batch.steps, name: steps.padded(schema.field(name).length)}
            torch.testing.assert_close(encoder(replace(batch, steps=longer)).z, z, rtol=1e-5, atol=1e-6)

    def test_copies_are_equal_parts_of_z(self) -> None:
        encoder = self.build(copies=2)
        encoded = encoder(self.batch())
        assert encoded.z.shape[1] == encoder.width
        if encoded.copies == 2:
            assert encoded.copy(0).shape == encoded.copy(1).shape

    def test_copies_share_no_weight(self) -> None:
        encoder = self.build(copies=2).train()
        encoded = encoder(self.batch())
        moved: dict[str, torch.Tensor] = {}
        for copy in range(encoded.copies):
            encoder.zero_grad(set_to_none=True)
            mix(encoded.copy(copy)).backward(retain_graph=True)
            for name, parameter in encoder.named_parameters():
                if parameter.grad is not None:
                    touched = parameter.grad.to_dense() != 0
                    assert not (touched & moved.get(name, torch.zeros_like(touched))).any(), f"copies share {name}"
                    moved[name] = touched | moved.get(name, touched)

    def test_slices_lie_within_one_copy_of_z(self) -> None:
        encoded = self.build()(self.batch())
        for name, part in encoded.slices.items():
            assert self.schema().field(name)
            assert 0 <= part.start < part.stop <= encoded.z.shape[1]
            assert encoded.field(name).shape == (12, part.stop - part.start)

    def test_every_parameter_gets_a_finite_gradient(self) -> None:
        encoder = self.build().train()
        mix(encoder(self.batch()).z).backward()
        check_gradients(encoder)

    def test_tables_are_among_the_parameters(self) -> None:
        encoder = self.build()
        own = {id(parameter) for parameter in encoder.parameters()}
        assert all(id(table) in own for table in encoder.table_parameters())

    def test_rows_do_not_see_each_other(self) -> None:
        encoder, batch = self.build(), self.batch()
        alone = encoder(take(batch, slice(5, 6))).z
        torch.testing.assert_close(alone, encoder(batch).z[5:6], rtol=1e-5, atol=1e-6)

    def test_missing_values_only_are_finite(self) -> None:
        batch = self.batch().map(torch.zeros_like)
        assert torch.isfinite(self.build()(batch).z).all()

    def test_labels_do_not_reach_z(self) -> None:
        encoder, batch = self.build(), self.batch()
        other = replace(batch, labels=1 - batch.labels, mask=~batch.mask)
        assert torch.equal(encoder(batch).z, encoder(other).z)

    def test_auxiliary_objectives_are_of_single_rows_and_see_no_labels(self) -> None:
        schema = example_schema(kinds=("categorical", "sequence", "history")) if self.auxiliary_options else None
        encoder, batch = self.build(schema, **self.auxiliary_options), self.batch(schema)
        encoder(batch)
        assert not encoder.auxiliary, "evaluation has no auxiliary objectives"
        encoder.train()
        start = deepcopy(encoder)
        z = encoder(batch).z
        assert bool(encoder.auxiliary) or not self.auxiliary_options, "these options set no auxiliary objective"
        total = mix(z)
        for name, part in encoder.auxiliary.items():
            assert part.values.shape == (12,), name
            assert torch.isfinite(part.values).all(), name
            assert part.weight >= 0
            total = total + part.values.sum()
        for other in (replace(batch, labels=1 - batch.labels, mask=~batch.mask), take(batch, slice(5, 6))):
            twin, rows = deepcopy(start), slice(0, 12) if len(other) == 12 else slice(5, 6)
            twin(other)
            for name, part in encoder.auxiliary.items():
                values = twin.auxiliary[name].values
                torch.testing.assert_close(values, part.values[rows], rtol=1e-5, atol=1e-6)
        total.backward()
        check_gradients(encoder)

    @pytest.mark.parametrize("auxiliary", [False, True])
    def test_requests_change_neither_z_nor_gradients(self, auxiliary: bool) -> None:
        schema = self.schema()
        if type(self).schema is EncoderContract.schema:
            schema = example_schema(kinds=("categorical", "numeric", "sequence", "vector", "history"))
        options = self.auxiliary_options if auxiliary else {}
        requests = example_requests(self.batch(schema, rows=12))
        try:
            encoder = self.build(requests.schema, copies=2, **options)
        except MtlError:  # it reads no histories
            requests = example_requests(self.batch())
            encoder = self.build(requests.schema, copies=2, **options)
        results = []
        for batch in (requests if encoder.reads_requests else requests.expand(), requests.expand()):
            twin = deepcopy(encoder).train()
            z = twin(batch).z
            total = mix(z) + mix(*(part.values for part in twin.auxiliary.values()), z)
            total.backward()
            grads = {name: parameter.grad for name, parameter in twin.named_parameters() if parameter.grad is not None}
            results.append((z, {name: grad.to_dense() for name, grad in grads.items()}))
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)

    def test_state_and_pickle_keep_z(self) -> None:
        encoder, batch = self.build(), self.batch()
        perturb(encoder)
        for other in restored(encoder, self.build()):
            assert torch.equal(other(batch).z, encoder(batch).z)


def take(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch."""
    return batch.map(lambda tensor: tensor[rows])
