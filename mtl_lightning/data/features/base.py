"""What a kind of feature is: a record of options, and the fitted transform that it builds."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Field


class Transform(Protocol):
    """One feature's fitted state. It observes every training block, is finished, then encodes any block.

    A class that declares ``saved``, a ``TypedDict`` of what :meth:`state` returns, has its saved states checked against
    it (types, bounds, finite numbers) before :meth:`restore` sees them. Without it only plain values are made sure of.
    """

    def observe(self, block: Block) -> None:
        """Take a block of training rows into account."""

    def finish(self) -> None:
        """Fit to what was observed."""

    def field(self) -> Field:
        """The model input that it makes."""

    def encode(self, block: Block) -> np.ndarray:
        """Values of a block: [B] int32 ids, [B] float32 numbers, [B, L] int32 sequences or [B, d] float32 vectors."""

    def state(self) -> dict[str, Any]:
        """What was fitted, as plain containers."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`."""


@runtime_checkable
class Remembers(Protocol):
    """A transform that keeps more than its state from fitting to encoding."""

    def forget(self) -> None:
        """Give it back; what follows is encoded the same."""


class Feature(ABC):
    """A kind of feature: a frozen dataclass whose constructor is the schema of its options.

    Plugins supply further kinds by ``mtl_features``.
    """

    __slots__ = ()
    kind: ClassVar[str]
    """Name of the kind in a recipe."""
    makes: ClassVar[str]
    """Kind of field that it makes; see :data:`mtl_lightning.schema.FIELD_KINDS`."""

    @abstractmethod
    def columns(self, name: str) -> tuple[str, ...]:
        """Raw columns that the feature called ``name`` reads."""

    def event_columns(self, name: str) -> tuple[str, ...]:
        """Raw columns that the feature reads of rows before the one at hand: none; labels may be among them."""
        return ()

    def request_columns(self, name: str) -> tuple[str, ...]:
        """Raw columns that a row to be scored must have: those of :meth:`columns`."""
        return self.columns(name)

    def tokens(self, name: str) -> tuple[str, ...]:
        """Of its columns those whose values it compares as they are written, instead of reading numbers: none.

        In CSV files they keep the text of their cells; its transform reads them with
        :func:`mtl_lightning.data.arrow.columns.as_written`.
        """
        return ()

    @abstractmethod
    def build(self, name: str, others: Mapping[str, Transform]) -> Transform:
        """The transform to fit; ``others`` holds those of the features that it refers to."""

    def needs(self) -> tuple[str, ...]:
        """Other features that it refers to in its option ``of``: none."""
        return ()

    def shares(self, others: Mapping[str, "Feature"]) -> tuple[str, ...]:
        """Names of other features whose vocabularies it shares without naming them: none."""
        return ()

    def refuses(self, other: "Feature") -> str:
        """Why it can't refer to another feature; empty if it can."""
        return "can't be referred to"

    def fingerprint(self) -> str:
        """What its values depend on beside rows, options and code, such as the content of a file: nothing."""
        return ""


class Alone(Feature):
    """For features of one column, which refer to no other."""

    __slots__ = ()
    column: str | None

    def columns(self, name: str) -> tuple[str, ...]:
        """Its column, or the one called like the feature."""
        return (self.column or name,)


class Stateless:
    """For transforms that are not fitted."""

    def observe(self, block: Block) -> None:
        """Nothing is fitted."""

    def finish(self) -> None:
        """Nothing is fitted."""

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


def check(condition: bool, message: str, hint: str = "") -> None:
    """Raise a DataError unless an option is right."""
    if not condition:
        raise DataError(message, hint)
