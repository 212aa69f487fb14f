"""Contracts of features: a record of options, and the fitted transform that it builds."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.data.features.column_reader import ColumnReader
from mtl_lightning.errors import DataError
from mtl_lightning.moved import renamed
from mtl_lightning.schema import Field


class Transform(Protocol):
    """Fitted state of one feature. It observes every training block, is finished, then encodes any block.

    A class may declare ``saved``, a ``TypedDict`` of what :meth:`state` returns. Saved states are then checked against
    it (types, bounds, finite numbers) before :meth:`restore` reads them. Without it, a state may hold any plain values.
    """

    def observe(self, block: Block) -> None:
        """Take a block of training rows into account."""

    def finish(self) -> None:
        """Fit to the observed blocks."""

    def field(self) -> Field:
        """Return the model input that the feature makes."""

    def encode(self, block: Block) -> np.ndarray:
        """Encode a block.

        Returns:
            Ids [B] int32, numbers [B] float32, sequences of ids [B, L] int32, or vectors [B, d] float32.

        Raises:
            DataError: If the column is missing, or holds values that the feature cannot read.
        """

    def state(self) -> dict[str, Any]:
        """Return the fitted state as plain containers."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that :meth:`state` returned."""


class Accumulator(Protocol):
    """State that grows with each block, and that workers collect for different blocks."""

    def record(self) -> None:
        """Forget what was added, except what later blocks depend on, and collect from now on for :meth:`partial`."""

    def partial(self) -> Any:
        """Return what was added since :meth:`record`; it can be pickled."""

    def merge(self, partial: Any) -> None:
        """Add what another accumulator returned for the next blocks: bit for bit as if they had been added here."""


@runtime_checkable
class MergeableTransform(Protocol):
    """A transform that workers can fit to different blocks. Others are fitted by one process, block by block."""

    def accumulators(self) -> Sequence[Accumulator]:
        """Return everything that :meth:`Transform.observe` changes."""


@runtime_checkable
class CachingTransform(Protocol):
    """A transform that caches more than its state between fitting and encoding."""

    def forget(self) -> None:
        """Release caches; later encodings are unaffected."""


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
        """Return the raw columns that the feature called ``name`` reads."""

    def event_columns(self, name: str) -> tuple[str, ...]:
        """Raw columns that the feature reads of rows before the one at hand: none; labels may be among them."""
        return ()

    def lookup_columns(self, name: str) -> tuple[str, ...]:
        """Columns that may be ones of side tables: all that the feature reads of rows and of events."""
        return self.columns(name)

    def request_columns(self, name: str) -> tuple[str, ...]:
        """Raw columns that a row to be scored must have: the columns of :meth:`columns`."""
        return self.columns(name)

    def optional_columns(self, name: str) -> tuple[str, ...]:
        """Raw columns that a row to be scored may have, in addition to :meth:`request_columns`: none."""
        return ()

    def preferred(self) -> tuple[str, ...]:
        """Tasks whose preferences the feature holds, so that a weighter fills it in training: none."""
        return ()

    def tokens(self, name: str) -> tuple[str, ...]:
        """Return the columns whose values are compared as they are written, instead of read as numbers.

        In CSV files these columns keep the text of their cells. The transform reads them with
        :func:`mtl_lightning.data.arrow.columns.as_written`. By default there are none.
        """
        return ()

    @abstractmethod
    def build(self, name: str, others: Mapping[str, Transform]) -> Transform:
        """Build the transform to fit.

        Args:
            name: Name of the feature.
            others: Transforms of the features in :meth:`needs`, by name.
        """

    def needs(self) -> tuple[str, ...]:
        """Return the names of the features that its option ``of`` refers to; by default none."""
        return ()

    def shares(self, others: Mapping[str, "Feature"]) -> tuple[str, ...]:
        """Names of other features whose vocabularies it shares without naming them: none."""
        return ()

    def refuses(self, other: "Feature") -> str:
        """Return the reason why it cannot refer to another feature; empty if it can."""
        return "can't be referred to"

    def fingerprint(self) -> str:
        """Return what the values depend on besides rows, options and code, such as a digest of a file's content."""
        return ""


class ColumnFeature(Feature):
    """Base of features that read one column: ``column``, or the column called like the feature.

    A kind with an option ``expression`` may read an expression over columns instead.
    """

    __slots__ = ()
    column: str | None

    @override
    def columns(self, name: str) -> tuple[str, ...]:
        expression = expression_of(self)
        return (self.column or name,) if expression is None else Expression(expression).columns

    def reader(self, name: str) -> ColumnReader:
        """Return what reads the values of its column or expression."""
        return ColumnReader(name, self.column or name, expression_of(self))


class TokenFeature(ColumnFeature):
    """Base of features that read one column as it is written."""

    __slots__ = ()

    @override
    def tokens(self, name: str) -> tuple[str, ...]:
        """Return the column; an expression reads numbers as numbers."""
        return self.columns(name) if expression_of(self) is None else ()


def expression_of(feature: Feature) -> str | None:
    """Return the expression that a feature reads instead of a column, or None.

    Example:
        >>> from mtl_lightning.data.features.numeric import Numeric
        >>> expression_of(Numeric(expression="price / 2")), expression_of(Numeric())
        ('price / 2', None)
    """
    text: str | None = getattr(feature, "expression", None)
    return text


def check_expression(column: str | None, expression: str | None) -> None:
    """Check the options ``column`` and ``expression``.

    Raises:
        DataError: If both are set, or the text is not an expression.
    """
    if expression is not None:
        check(column is None, "column and expression are both set", "an expression names its columns itself")
        Expression(expression, place="expression")


FeatureT = TypeVar("FeatureT", bound=ColumnFeature)


class ColumnTransform(Transform, Generic[FeatureT]):
    """Base of transforms that read one column, or an expression: ``self.reader.read(block)``.

    Args:
        name: Name of the feature.
        feature: Its options.
    """

    def __init__(self, name: str, feature: FeatureT) -> None:
        self.name = name
        self.feature = feature
        self.reader = feature.reader(name)
        self.column = self.reader.name


class StatelessTransform(Transform):
    """Base of transforms that are not fitted."""

    def accumulators(self) -> list[Accumulator]:
        """Return nothing."""
        return []

    @override
    def observe(self, block: Block) -> None:
        pass

    @override
    def finish(self) -> None:
        pass

    @override
    def state(self) -> dict[str, Any]:
        return {}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        pass


def check(condition: bool, message: str, hint: str = "") -> None:
    """Check a condition on options.

    Raises:
        DataError: With this message and hint, if the condition does not hold.
    """
    if not condition:
        raise DataError(message, hint)


if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"Alone": "ColumnFeature", "Stateless": "StatelessTransform"})
