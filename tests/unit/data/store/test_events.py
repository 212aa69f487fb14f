"""Events on disk, windows of them, and what a batch does with them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.events import META, Events, EventsWriter, Narrow, TimeRange, rounded, row_part
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Schema
from mtl_lightning.steps import Layout, Steps

LENGTH = 20


def stored(
    folder: Path, layout: Layout, count: int = 300, size: int = 2**31, span: int = 2**50, units: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write random events; returns their ids, numbers and times."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, size, (count, layout.ids)).astype(np.int32)
    ids[0] = size - 1
    numbers = rng.standard_normal((count, layout.numbers)).astype(np.float32)
    numbers[::7] = np.nan  # after a row's last event even these are zero
    time = units * np.sort(np.append(rng.integers(0, span, count - 2), [0, span - 1])) + 2**50 - 2**50 % units
    times = TimeRange()
    times.add(time, units)
    with EventsWriter(folder, layout, LENGTH, Narrow.of(size, times)) as writer:
        for part in np.array_split(np.arange(count), 3):
            writer.write(layout.pack(ids[part], numbers[part], time[part]))
    return ids, numbers, time


@pytest.mark.parametrize(
    ("size", "span", "units", "types"),
    [
        (2**31, 2**50, 1, ("<i4", "<f8")),
        (2**16 + 1, 2**32 + 1, 1, ("<i4", "<f8")),
        (2**16, 2**32, 1, ("<u2", "<i4")),
        (2, 2**30, 1_000_000, ("<u2", "<i4")),
    ],
)
@pytest.mark.parametrize("layout", [Layout(2, 1, True, 1000.0), Layout(1, 0, True), Layout(3, 2), Layout(1, 0)])
def test_steps_are_the_slices_of_the_events(
    tmp_path: Path, layout: Layout, size: int, span: int, units: int, types: tuple[str, str]
) -> None:
    ids, numbers, time = stored(tmp_path / "events", layout, 300, size, span, units)
    narrow = Events.open(tmp_path / "events").narrow
    assert (narrow.ids, narrow.time) == types
    rng = np.random.default_rng(1)
    start = np.append(rng.integers(0, 300, 400), [0, 299, 300])
    stop = np.append(np.minimum(start[:400] + rng.integers(0, LENGTH + 1, 400), 300), [0, 300, 300])
    row_time = rng.integers(2**52, 2**53, len(start))
    rows = row_part(start, stop, row_time if layout.gap else None)
    steps = Events.open(tmp_path / "events").steps(torch.from_numpy(rows))
    assert steps.width == LENGTH
    assert (steps.gap is None) == (not layout.gap)
    for row, (first, last) in enumerate(zip(start, stop, strict=True)):
        count = last - first
        assert int(steps.length[row]) == count
        np.testing.assert_array_equal(steps.ids[row, :count], ids[first:last])
        np.testing.assert_array_equal(steps.numbers[row, :count], numbers[first:last])
        assert not steps.ids[row, count:].any()
        assert not steps.numbers[row, count:].any()
        if steps.gap is not None:
            gap = ((row_time[row] - time[first:last]) / layout.scale).astype(np.float32)
            np.testing.assert_array_equal(steps.gap[row, :count], gap)
            assert not steps.gap[row, count:].any()


def test_the_width_is_one_of_few_whatever_the_longest_history() -> None:
    for length in (1, 7, 8, 50, 200, 1000):
        widths = {longest: rounded(longest, length) for longest in range(length + 1)}
        assert all(longest <= width <= length for longest, width in widths.items())
        assert len(set(widths.values())) <= 1 + max((length - 1).bit_length() - 3, 0)


def test_a_batch_is_trimmed_to_its_longest_history(tmp_path: Path) -> None:
    stored(tmp_path / "events", Layout(1, 0))
    events = Events.open(tmp_path / "events")
    for longest, width in ((0, 8), (3, 8), (9, 16), (17, 20)):
        rows = row_part(np.array([5, 7]), np.array([5 + longest, 7]), None)
        steps = events.steps(torch.from_numpy(rows))
        assert steps.width == steps.ids.shape[1] == steps.known.shape[1] == width


def batch_of(steps: Steps) -> Batch:
    rows = len(steps.length)
    empty = torch.zeros(rows, 0)
    return Batch(
        schema=Schema((), ()), ids=empty.long(), dense=empty, labels=empty, mask=empty.bool(), steps={"seen": steps}
    )


def test_a_batch_moves_windows_and_maps_what_they_hold(tmp_path: Path) -> None:
    stored(tmp_path / "events", Layout(2, 1, True))
    rows = row_part(np.array([5, 7, 0]), np.array([9, 7, 3]), np.array([2**52, 2**52, 2**52]))
    batch = batch_of(Events.open(tmp_path / "events").steps(torch.from_numpy(rows)))
    moved = batch.to("cpu", copy=True).steps["seen"]
    assert moved.windows is not None
    mapped = batch.map(lambda part: part[1:]).steps["seen"]
    assert mapped.windows is None
    steps = batch.steps["seen"]
    for name in ("ids", "numbers", "gap", "length"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(steps, name))
        np.testing.assert_array_equal(getattr(mapped, name), getattr(steps, name)[1:])
    padded = steps.padded(12)
    np.testing.assert_array_equal(padded.numbers[:, :8], steps.numbers)
    assert not padded.numbers[:, 8:].any()


def test_events_of_another_format_and_cut_ones_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    stored(folder, Layout(2, 1, True))
    meta = json.loads((folder / META).read_text())
    (folder / META).write_text(json.dumps({name: value for name, value in meta.items() if name != "format"}))
    with pytest.raises(DataError, match=r"format 1 instead of 5.*prepared again"):
        Events.open(folder)
    (folder / META).write_text(json.dumps(meta))
    (folder / "numbers.bin").write_bytes((folder / "numbers.bin").read_bytes()[:-4])
    with pytest.raises(DataError, match=r"numbers.bin has \d+ bytes instead of"):
        Events.open(folder)
