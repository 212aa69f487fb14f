"""The contract of kinds of features."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from mtl_lightning.data.features.base import Feature, Transform
from mtl_lightning.data.features.build import Spec, build_features
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.schema import FIELD_KINDS, Field
from mtl_lightning.testing.component import ComponentContract, copy_by_pickle

ROWS: dict[str, list[Any]] = {"f": ["red dress", "blue", None, "red dress", "", "Ünï – 日本語"]}


class FeatureContract(ComponentContract):
    """Tests of a kind of feature. Set ``rows`` where text in a column ``f`` doesn't do, and ``options``.

    ``others`` holds features that ``options`` refer to, as a recipe has them.
    """

    rows: ClassVar[Mapping[str, list[Any]]] = ROWS
    others: ClassVar[Mapping[str, Spec]] = {}

    def build(self) -> Feature:
        """A fresh record of options."""
        feature: Feature = self.construct()
        return feature

    def fitted(self) -> Transforms:
        """Fitted to the rows."""
        transforms = Transforms(build_features({**self.others, "f": self.build()}), ())
        transforms.fit([self._table()])
        return transforms

    def _table(self) -> pa.Table:
        return pa.table(dict(self.rows))

    def _transform(self) -> Transform:
        return self.fitted().transforms["f"]

    def test_it_is_registered_under_its_kind(self) -> None:
        from mtl_lightning.plugins import registry

        assert self.build().makes in FIELD_KINDS
        owners = [entry for _, entry in registry().entries("feature") if entry.name == self.build().kind]
        assert self.component in [registry().resolve("feature", entry.qualified) for entry in owners]

    def test_it_names_the_columns_that_it_reads(self) -> None:
        feature = self.build()
        assert {*feature.columns("f"), *feature.event_columns("f")} <= set(self.rows)
        assert feature.columns("f") or feature.needs() or feature.optional_columns("f")

    def test_encoded_values_have_the_form_of_their_field(self) -> None:
        transform = self._transform()
        field, values = transform.field(), transform.encode(self._table())
        assert field.name == "f"
        assert field.kind == self.build().makes
        assert (values.shape, values.dtype.name) == expected_form(field, len(self._table()))
        assert np.isfinite(values).all()
        if field.kind in ("categorical", "sequence"):
            assert values.min() >= 0
            assert values.max() < field.size

    def test_a_row_alone_is_encoded_as_among_others(self) -> None:
        transform, table = self._transform(), self._table()
        together = transform.encode(table)
        alone = np.concatenate([transform.encode(table.slice(i, 1)) for i in range(len(table))])
        np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)

    def test_no_rows_are_encoded_as_none(self) -> None:
        transform = self._transform()
        values = transform.encode(self._table().slice(0, 0))
        assert (values.shape, values.dtype.name) == expected_form(transform.field(), 0)

    def test_what_is_missing_has_a_value(self) -> None:
        missing = {name: pa.nulls(2, self._table()[name].type) for name in self.rows}
        values = self._transform().encode(pa.table(missing))
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values[0], values[1])

    def test_workers_that_observe_different_blocks_fit_the_same_state(self) -> None:
        blocks = [self._table().slice(start, 1) for start in range(len(self._table()))]
        sequential = Transforms(build_features({**self.others, "f": self.build()}), ())
        if not sequential.mergeable:
            pytest.skip("its transform has no accumulators, and is fitted by one process")
        several = copy_by_pickle(sequential)
        sequential.fit(blocks)
        several.observe(blocks[0])
        unfitted = copy_by_pickle(several)
        unfitted.record()
        for block in blocks[1:]:
            worker = copy_by_pickle(unfitted)
            worker.observe(block)
            several.merge(copy_by_pickle(worker.partial()))
        several.finish()
        assert several.to_dict() == sequential.to_dict()

    def test_the_fitted_state_survives_json(self) -> None:
        fitted = self.fitted()
        again = Transforms.from_dict(json.loads(json.dumps(fitted.to_dict())))
        assert again.schema == fitted.schema
        table = self._table()
        np.testing.assert_array_equal(again.transforms["f"].encode(table), fitted.transforms["f"].encode(table))

    def test_pickles(self) -> None:
        feature: Feature = copy_by_pickle(self.build())
        assert feature == self.build()
        assert feature.fingerprint() == self.build().fingerprint()


def expected_form(field: Field, rows: int) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of the encoded values of a field."""
    if field.kind == "sequence":
        return (rows, field.length), "int32"
    if field.kind == "vector":
        return (rows, field.size), "float32"
    return (rows,), {"categorical": "int32", "history": "float64"}.get(field.kind, "float32")
