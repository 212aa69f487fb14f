"""Label rates by day, in one pass and bounded memory."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.time_formats import parse_times
from mtl_lightning.data.arrow.times import parse_iso
from mtl_lightning.data.arrow.types import clean, is_number, is_text, is_time

MOST = 60
"""Largest number of intervals of a time that is not a date."""

LARGEST = 4096
"""Largest number of days of a task."""

EPOCHS = ((1e17, 86_400 * 10**9), (1e14, 86_400 * 10**6), (1e11, 86_400 * 1000), (1e8, 86_400))
"""Smallest number that counts as a time since 1970 in each unit, and the number of these units in a day."""


class DayRates:
    """Counts and means of labels by day.

    Times, dates, numbers of (nano-, micro-, milli-) seconds since 1970 and ISO text are grouped by day in UTC. Other
    numbers (the number of a day or step) are grouped by value, or by wider intervals if there are more than 60.

    Example:
        >>> rates = DayRates()
        >>> days = rates.days(pa.array([0, 0, 1, None]))
        >>> rates.add("click", days, np.array([1.0, 0.0, 1.0, 1.0]), np.ones(4, dtype=bool))
        >>> rates.to_dict()
        {'click': [{'day': '0', 'known': 2, 'mean': 0.5}, {'day': '1', 'known': 1, 'mean': 1.0}]}
    """

    def __init__(self) -> None:
        self.width = 1
        self.unit: int | None = None
        self.dated = False
        self.counts: dict[str, dict[int, tuple[int, float]]] = {}

    def days(self, times: pa.Array, text_format: str | None = None) -> np.ndarray | None:
        """Return the day of each row.

        Args:
            times: Values of a column, [N].
            text_format: Format of text, and of integers that are read as text; None for ISO 8601.

        Returns:
            Days since 1970 or numbers, [N] float64, NaN where missing; None if the column does not hold times.
        """
        times = clean(times)
        if text_format is not None and (is_text(times.type) or pa.types.is_integer(times.type)):
            return self._days_of(parse_times(pc.cast(times, pa.string()), text_format))
        if is_text(times.type):
            day = pc.utf8_slice_codeunits(times, 0, 10)
            whole = pc.match_substring_regex(day, r"^\d{4}-\d{2}-\d{2}$")
            days = pc.strptime(pc.if_else(whole, day, pa.scalar(None, day.type)), "%Y-%m-%d", "us", error_is_null=True)
            return self._days_of(pc.coalesce(parse_iso(times), days))
        if is_time(times.type):
            return self._days_of(times)
        if not is_number(times.type):
            return None
        values = np.asarray(pc.cast(times, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        if self.unit is None:
            largest = np.nanmax(values, initial=0)
            self.unit = next((unit for least, unit in EPOCHS if largest >= least), 1)
            self.dated = self.unit > 1
        return np.asarray(np.floor(values / self.unit))

    def _days_of(self, times: pa.Array) -> np.ndarray:
        self.dated = True
        if pa.types.is_timestamp(times.type) and times.type.tz is not None:
            times = pc.cast(times, pa.timestamp(times.type.unit))
        seconds = pc.cast(pc.cast(times, pa.timestamp("s"), safe=False), pa.int64())
        values = pc.cast(seconds, pa.float64()).to_numpy(zero_copy_only=False)
        return np.asarray(np.floor(values / 86_400))

    def add(self, task: str, days: np.ndarray, labels: np.ndarray, known: np.ndarray) -> None:
        """Count the labels of a block.

        Args:
            task: Name of the task.
            days: Day of each row, [N].
            labels: Label of each row, [N].
            known: Whether the label is known, [N].
        """
        chosen = known & ~np.isnan(days)
        if not chosen.any():
            return
        distinct, place = np.unique(days[chosen].astype(np.int64) // self.width, return_inverse=True)
        rows, sums = np.bincount(place), np.bincount(place, weights=labels[chosen])
        counts = self.counts.setdefault(task, {})
        for day, number, total in zip(distinct.tolist(), rows.tolist(), sums.tolist(), strict=True):
            before = counts.get(day, (0, 0.0))
            counts[day] = (before[0] + number, before[1] + total)
        self._widen(LARGEST)

    def _widen(self, most: int) -> None:
        while any(len(counts) > most for counts in self.counts.values()):
            self.width *= 2
            for task, counts in self.counts.items():
                wider: dict[int, tuple[int, float]] = {}
                for day, (number, total) in counts.items():
                    before = wider.get(day // 2, (0, 0.0))
                    wider[day // 2] = (before[0] + number, before[1] + total)
                self.counts[task] = wider

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return the days in order per task, each with ``day``, the number ``known`` of labels and their ``mean``."""
        self._widen(LARGEST if self.dated else MOST)
        name: Callable[[int], str] = _date if self.dated else str
        return {
            task: [
                {"day": name(day * self.width), "known": number, "mean": total / number}
                for day, (number, total) in sorted(counts.items())
            ]
            for task, counts in self.counts.items()
        }


def _date(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
