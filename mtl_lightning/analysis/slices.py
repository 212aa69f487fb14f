"""Division of an evaluated split into parts. Parts follow from prepared data and are equal on all processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.data.features.categorical import CategoricalTransform
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.quality.days import DayRates
from mtl_lightning.errors import MtlError

MOST = 40
"""Largest number of parts of a slice; each part has its own metrics."""


@dataclass(frozen=True)
class Slice:
    """A way to divide a split into parts.

    Args:
        values: Names of the parts.
        part: Batch of B rows → index of each row's part, [B] int64; -1 for none.
    """

    values: tuple[str, ...]
    part: Callable[[Batch], Tensor]


def make_slices(columns: Sequence[tuple[str, str, str]], prepared: Prepared) -> dict[str, Slice]:
    """Slices of a run, by name.

    Args:
        columns: Name, kind (``feature``, ``new``, ``day``, ``column``) and feature or raw column of each slice; see
            :func:`mtl_lightning.config.slices.slice_columns`.
        prepared: Prepared data.

    Raises:
        MtlError: If a slice has more than :data:`MOST` parts.
    """
    slices: dict[str, Slice] = {}
    for name, kind, column in columns:
        if kind == "feature":
            slices[name] = _by_id(name, prepared)
        elif kind == "new":
            slices[name] = Slice(("known", "new"), lambda batch, column=column: batch.raw[column].long())  # type: ignore[misc]
        else:
            slices[name] = _by_number(name, column, prepared, days=kind == "day")
    return slices


def _by_id(name: str, prepared: Prepared) -> Slice:
    size = prepared.schema.field(name).size
    _check_count(name, size - FIRST)
    transform = prepared.transforms.transforms[name]
    known = (
        transform.table.vocabulary.keys.to_pylist()
        if isinstance(transform, CategoricalTransform)
        else range(FIRST, size)
    )
    return Slice(("missing", "unknown", *(str(value) for value in known)), lambda batch: batch.id(name))


def _by_number(name: str, column: str, prepared: Prepared, *, days: bool) -> Slice:
    stores = [store for split, store in prepared.stores.items() if split != "train"]
    values = np.concatenate([np.zeros(0), *(store.parts[f"raw/{column}"].numpy() for store in stores)])
    unit, dated = 1, False
    if days:
        rates = DayRates()
        rates.days(pa.array(values, from_pandas=True))
        unit, dated = rates.unit or 1, rates.dated
        values = np.floor(values / unit)
    distinct = np.unique(values[~np.isnan(values)])
    _check_count(name, len(distinct))
    names = [str(np.datetime64(int(value), "D")) if dated else f"{value:g}" for value in distinct]
    borders = torch.from_numpy(distinct)

    def part(batch: Batch) -> Tensor:
        numbers = batch.raw[column]
        numbers = torch.floor(numbers / unit) if days else numbers
        known = borders.to(numbers.device)
        place = torch.searchsorted(known, numbers.contiguous()).clamp(max=max(len(known) - 1, 0))
        return torch.where(known[place] == numbers, place, -1) if len(known) else torch.full_like(place, -1)

    return Slice(tuple(names), part)


def _check_count(name: str, count: int) -> None:
    if count > MOST:
        raise MtlError(f"run.slices: {name} has {count} values", f"slices have at most {MOST}")
