"""The ``data`` section of a recipe. Free of torch, so that recipes can be listed without it."""

from dataclasses import dataclass, field
from typing import Any, Literal

from mtl_lightning.bounds import PositiveInt


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Settings of batches and of prepared data.

    Args:
        batch_size: Rows per step and process while training.
        eval_batch_size: The same for validation, test and prediction.
        group: Raw column with the user, for metrics within users; None for the source's own, if it has one.
        cache_dir: Where prepared data is kept; None for the user's cache directory.
        pool: Rows in memory at a time where prepared data is larger than memory; None for what its size suggests.
        order: Order of shuffled training rows: ``array`` draws all of it in memory, ``function`` computes the part
            that a batch needs; ``auto`` is ``function`` above 50 million rows.
        accept: Names of serious findings about the data that are expected (``leak:<feature>:<task>``,
            ``funnel:<task>``).
        lookup: Side tables by name, each with ``path``, ``key``, ``on`` and further options of the source ``table``.
            Features read their columns as ``<name>.<column>``.
    """

    batch_size: PositiveInt = 1024
    eval_batch_size: PositiveInt = 8192
    group: str | None = None
    cache_dir: str | None = None
    pool: PositiveInt | None = None
    order: Literal["auto", "array", "function"] = "auto"
    accept: tuple[str, ...] = ()
    lookup: dict[str, dict[str, Any]] = field(default_factory=dict)
