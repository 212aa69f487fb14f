"""The contract of architectures."""

import pytest
import torch

from mtl_lightning.batch import Encoded
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.interfaces import Architecture, Schema
from mtl_lightning.testing.component import ComponentContract, check_gradients, check_reaches, mix, perturb, restored
from mtl_lightning.testing.encoder import take
from mtl_lightning.testing.example import example_batch, example_schema, example_task

NAMES = ("click", "cart", "buy", "share", "follow")


class ArchitectureContract(ComponentContract):
    """Tests of an architecture over the encoder ``embedding``; override ``schema`` if it needs particular fields."""

    context = 2

    def schema(self, tasks: int = 3) -> Schema:
        """A schema that the architecture can serve."""
        return example_schema([example_task(name=name) for name in NAMES[:tasks]])

    def build(self, tasks: int = 3) -> Architecture:
        """A fresh architecture in evaluation mode."""
        architecture: Architecture = self.construct(self.schema(tasks), self.encoder(tasks)).eval()
        return architecture

    def encoder(self, tasks: int = 3) -> EmbeddingEncoder:
        """The encoder whose z it gets."""
        torch.manual_seed(0)
        copies = self.component.table_copies(tasks, **self.options)
        return EmbeddingEncoder(self.schema(tasks), copies, width=4, init_scale=1.0)

    def encoded(self, tasks: int = 3, rows: int = 12) -> Encoded:
        """An encoded batch whose z is a leaf."""
        encoded: Encoded = self.encoder(tasks)(example_batch(self.schema(tasks), rows))
        encoded.z = encoded.z.detach().requires_grad_()
        return encoded

    @pytest.mark.parametrize("tasks", [1, 2, 3, 5])
    def test_each_task_gets_its_representation(self, tasks: int) -> None:
        architecture = self.build(tasks)
        representations = architecture(self.encoded(tasks))
        assert list(representations) == list(NAMES[:tasks]) == list(architecture.widths)
        for name, h in representations.items():
            assert h.shape == (12, architecture.widths[name])
            assert architecture.widths[name] % architecture.members == 0, "members have slices of equal width"
            assert torch.isfinite(h).all()

    @pytest.mark.parametrize("tasks", [1, 3])
    def test_every_parameter_gets_a_finite_gradient(self, tasks: int) -> None:
        architecture = self.build(tasks).train()
        mix(*architecture(self.encoded(tasks)).values()).backward()
        check_gradients(architecture)

    def test_each_task_reaches_z(self) -> None:
        encoded = self.encoded()
        for name, h in self.build()(encoded).items():
            check_reaches(mix(h), encoded.z, name)

    def test_one_row_is_enough_in_training(self) -> None:
        assert torch.isfinite(mix(*self.build().train()(self.encoded(rows=1)).values()))

    def test_rows_do_not_see_each_other(self) -> None:
        architecture, encoded = self.build(), self.encoded()
        alone = Encoded(encoded.z[5:6], take(encoded.batch, slice(5, 6)), encoded.slices, encoded.copies)
        whole = architecture(encoded)
        for name, h in architecture(alone).items():
            torch.testing.assert_close(h, whole[name][5:6], rtol=1e-5, atol=1e-6)

    def test_large_values_stay_finite(self) -> None:
        encoded = self.encoded()
        encoded.z = encoded.z.detach() * 1e4
        assert all(torch.isfinite(h).all() for h in self.build()(encoded).values())

    def test_gates_are_kept_only_when_asked(self) -> None:
        architecture = self.build()
        architecture(self.encoded())
        assert not getattr(architecture, "gates", {})
        architecture.keep_gates = True
        architecture(self.encoded())
        for gate in getattr(architecture, "gates", {}).values():
            assert torch.isfinite(gate).all()
            assert not gate.requires_grad

    def test_state_and_pickle_keep_the_representations(self) -> None:
        architecture, encoded = self.build(), self.encoded()
        perturb(architecture)
        for other in restored(architecture, self.build()):
            assert torch.equal(mix(*other(encoded).values()), mix(*architecture(encoded).values()))
