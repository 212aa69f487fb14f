"""Review of options, which collects problems instead of raising the first one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mtl_lightning.errors import DataError, MtlError, PluginError, Problem
from mtl_lightning.validation.binding import Bound, bind
from mtl_lightning.validation.values import is_plain


@dataclass
class Review:
    """Problems of options, with the columns and features that the options name.

    The builders of features, tasks and splits add to a review. The validation of a recipe continues with other
    sections and lists all problems. :class:`~mtl_lightning.data.datamodule.DataModule` raises the problems at once.
    Paths are the same in both cases, since the arguments of ``DataModule`` are named like the sections of a recipe.

    Args:
        problems: All problems.
        columns: Raw columns that options name, by path.
        fields: Features that options name, by path.

    Example:
        >>> review = Review()
        >>> review.problem("split.by", "no way 'tme'", "did you mean 'time'?")
        >>> review.raise_problems()
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: split.by: no way 'tme' (did you mean 'time'?)
    """

    problems: list[Problem] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)

    def problem(self, path: str, reason: str, hint: str = "") -> None:
        """Note something that is wrong."""
        self.problems.append(Problem(path, reason, hint))

    def bind(self, path: str, target: Any, given: Mapping[str, Any], **how: Any) -> Bound:
        """Bind options to a constructor, and note the columns and features that they name.

        Args:
            path: Place of the options.
            target: The constructor.
            given: The options.
            how: See :func:`~mtl_lightning.validation.binding.bind`.
        """
        try:
            bound = bind(target, given, path, self.problems, **how)
        except PluginError as error:
            self.problem(path, error.message, error.hint)
            return Bound()
        self.columns |= bound.columns
        self.fields |= bound.fields
        return bound

    def record(self, path: str, target: Any, given: Mapping[str, Any], **how: Any) -> Any:
        """Bind options to a record of settings and construct it; None if anything is wrong."""
        before = len(self.problems)
        bound = self.bind(path, target, given, **how)
        if len(self.problems) > before:
            return None
        try:
            return target(**bound.options)
        except MtlError as error:
            self.problems.append(Problem.from_error(error, path))
        except ValueError as error:
            self.problem(path, str(error))
        except TypeError as error:
            if is_plain(bound.options):  # plain values fit their hints, so that this is a defect of the constructor
                raise
            self.problem(path, f"an option has a wrong type: {error}")
        return None

    def raise_problems(self) -> None:
        """Raise a DataError that lists all problems, if there are any."""
        if self.problems:
            raise DataError.from_problems(self.problems)
