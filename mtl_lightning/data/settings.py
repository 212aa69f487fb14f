"""The ``data`` section of a recipe. Free of torch, so that recipes can be listed without it."""

from dataclasses import dataclass, field
from typing import Any, Literal

from mtl_lightning.bounds import NonNegativeInt, PositiveInt
from mtl_lightning.errors import DataError


def usual_batch_size(rows: int) -> int:
    """Rows of a batch that suit a training split: 256 up to 100,000 rows, 512 up to 200,000, and 1,024 above.

    Small logs need small batches, because an epoch has few steps; large ones gain speed from large batches.

    Args:
        rows: Rows of the training split, of all processes together.

    Example:
        >>> [usual_batch_size(rows) for rows in (40_000, 150_000, 10_000_000)]
        [256, 512, 1024]
    """
    return 256 if rows <= 100_000 else 512 if rows <= 200_000 else 1024


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Settings of batches and of prepared data.

    Args:
        batch_size: Rows per step and process while training; ``auto`` for :func:`usual_batch_size` of the rows.
        eval_batch_size: The same for validation, test and prediction.
        group: Raw column with the user, for metrics within users; None for the source's own, if it has one.
        cache_dir: Where prepared data is kept; None for the user's cache directory.
        pool: Rows in memory at a time where prepared data is larger than memory; None for what its size suggests.
        order: Order of shuffled training rows: ``array`` draws all of it in memory, ``function`` computes the part
            that a batch needs; ``auto`` is ``function`` above 50 million rows without requests.
        resident: Where prepared rows are kept while training and testing, and batches are gathered: ``device``,
            ``host``, or ``auto``, which is ``device`` for a GPU where they fit in half of its free memory. Batches are
            the same.
        prefetch: Batches that a thread gathers and packs ahead of their use; None for 4 on a GPU, and 0 on a CPU,
            where a thread would take time from the step.
        accept: Names of serious findings about the data that are expected (``leak:<feature>:<task>``,
            ``funnel:<task>``).
        request: Raw columns whose values are equal in the rows of a request (a user and a session), and in no
            other row.
            What is constant within a request is then stored, loaded and encoded once, and training batches hold whole
            requests. Empty for rows of their own.
        per_request: Features that are constant within a request; None for those that are in all rows of the log.
        lookup: Side tables by name, each with ``path``, ``key``, ``on`` and further options of the source ``table``.
            Features read their columns as ``<name>.<column>``.
        executor: What encodes the parts of a source: ``threads``, ``processes`` or a plugin's; a name, or
            ``{name: …, option: …}``.
        workers: Number of its workers; None for its default. The prepared data does not depend on either.

    Raises:
        DataError: If the order is a function, and there are requests.
    """

    batch_size: PositiveInt | Literal["auto"] = 1024
    eval_batch_size: PositiveInt = 8192
    group: str | None = None
    cache_dir: str | None = None
    pool: PositiveInt | None = None
    order: Literal["auto", "array", "function"] = "auto"
    resident: Literal["auto", "device", "host"] = "auto"
    prefetch: NonNegativeInt | None = None
    accept: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    per_request: tuple[str, ...] | None = None
    lookup: dict[str, dict[str, Any]] = field(default_factory=dict)
    executor: Any = "threads"
    workers: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.order == "function" and self.request:
            reason = "data.order: a function does not keep the rows of a request together"
            raise DataError(reason, "set data.order=array")
