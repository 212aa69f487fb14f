"""The contract of sources."""

import re
from typing import Any, ClassVar

import pytest

from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import Source
from mtl_lightning.schema import FIELD_KINDS, TASK_KINDS
from mtl_lightning.testing.component import ComponentContract, copy_by_pickle


class SourceContract(ComponentContract):
    """Tests of a source. Set ``options`` to something small, ``other_options`` to what gives other rows."""

    other_options: ClassVar[dict[str, Any]] = {}

    def build(self, **more: Any) -> Source:
        """A fresh source."""
        source: Source = self.construct(**more)
        return source

    def test_schema_names_columns_that_the_rows_have(self) -> None:
        source = self.build()
        schema = source.schema()
        assert schema.columns
        for split in schema.splits or (None,):
            rows = source.rows(split)
            assert set(rows.column_names or next(iter(rows))) == set(schema.columns)

    def test_rows_are_there_and_the_same_each_time(self) -> None:
        for split in self.build().schema().splits or (None,):
            first, again = (head(self.build(), split) for _ in range(2))
            assert first
            assert repr(first) == repr(again)

    def test_roles_refer_to_columns(self) -> None:
        schema = self.build().schema()
        roles = [*schema.after_event, *schema.oracle, *filter(None, (schema.time, schema.group))]
        assert set(roles) <= set(schema.columns)

    def test_suggested_features_are_columns_known_before_the_event(self) -> None:
        schema = self.build().schema()
        allowed = set(schema.columns) - set(schema.after_event) - set(schema.oracle)
        for name, feature in schema.features.items():
            options = {"kind": feature} if isinstance(feature, str) else feature
            assert options["kind"] in FIELD_KINDS
            assert options.get("column", name) in allowed, name

    def test_suggested_tasks_have_known_kinds_labels_and_parents(self) -> None:
        schema = self.build().schema()
        for name, task in schema.tasks.items():
            assert task["kind"] in TASK_KINDS
            label = task.get("label", name)
            assert label in schema.columns or set(re.findall(r"\w+", label)) & set(schema.columns), label
            assert set(task.get("parents", ())) <= set(schema.tasks)

    def test_the_fingerprint_follows_the_options(self) -> None:
        assert self.build().fingerprint() == self.build().fingerprint()
        if self.other_options:
            assert self.build().fingerprint() != self.build(**self.other_options).fingerprint()

    def test_an_unknown_split_is_an_error_that_names_it(self) -> None:
        with pytest.raises(DataError, match="no_such_split"):
            self.build().rows("no_such_split")

    def test_pickles(self) -> None:
        source = self.build()
        copied: Source = copy_by_pickle(source)
        assert copied.fingerprint() == source.fingerprint()
        assert copied.schema() == source.schema()


def head(source: Source, split: str | None, rows: int = 50) -> list[dict[str, Any]]:
    """The first rows of a split."""
    return [row for _, row in zip(range(rows), source.rows(split), strict=False)]
