"""The contract of executors: a function, many parts, results in order."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import ClassVar, Self, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class Executor(ABC):
    """Workers that apply a function to parts, as a context manager that starts and releases them.

    Built as ``(*, options)``, and starts nothing when it is built. Functions, parts and results can be pickled, and all
    workers reach the same files.

    Example:
        >>> from mtl_lightning.executors.threads import Threads
        >>> with Threads(workers=2) as executor:
        ...     list(executor.map(abs, [-1, 2, -3]))
        [1, 2, 3]
    """

    shares_memory: ClassVar[bool] = False
    """True if workers see the caller's objects themselves. Otherwise they get copies, by pickling."""

    @abstractmethod
    def map(self, function: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Apply a function to all parts.

        The function is sent to a worker once, not once per part. A part whose worker dies, or that fails with another
        error than an :class:`~mtl_lightning.errors.MtlError`, is tried again. So a function must give the same result,
        and write the same bytes to the same places, if it is called twice.

        Args:
            function: The function.
            parts: Its arguments, whose ``str`` names them in messages. They are taken as workers become free.

        Returns:
            The results in the order of the parts.

        Raises:
            MtlError: Of the first part that fails each time; names the part. An ``MtlError`` of the function is raised
                as it is, at once.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027 - a default
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the workers."""
