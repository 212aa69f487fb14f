"""Every way to divide rows: shares, what stays together, what may not leak."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.preparation.split import SplitSpec, assign, assign_by_name
from mtl_lightning.errors import DataError


@given(rows=st.integers(0, 300), validation=st.floats(0, 0.5), test=st.floats(0, 0.49), seed=st.integers(0, 5))
def test_random_shares_are_exact(rows: int, validation: float, test: float, seed: int) -> None:
    spec = SplitSpec(validation=validation, test=test, seed=seed)
    counts = np.bincount(assign(spec, [], rows), minlength=3)
    assert counts.sum() == rows
    assert abs(counts[2] - test * rows) <= 0.5 + 1e-9
    assert abs(counts[1] - validation * rows) <= 1
    assert (assign(spec, [], rows) == assign(spec, [], rows)).all()


@given(times=st.lists(st.integers(0, 20), min_size=1, max_size=100))
def test_time_never_overlaps(times: list[int]) -> None:
    spec = SplitSpec(by="time", column="t", validation=0.2, test=0.2)
    parts = 3 if round(0.2 * len(times)) else 1
    if len(set(times)) < parts:
        with pytest.raises(DataError, match=f"has {len(set(times))} distinct time"):
            assign(spec, [pa.table({"t": times})])
        return
    result = assign(spec, [pa.table({"t": times})])
    assert len(set(result.tolist())) == parts
    array = np.array(times)
    for early, late in ((0, 1), (1, 2), (0, 2)):
        if (result == early).any() and (result == late).any():
            assert array[result == early].max() < array[result == late].min()


def test_time_of_text_and_timestamps() -> None:
    spec = SplitSpec(by="time", column="t", validation=0.25, test=0.25)
    iso = ["2024-01-03", "2024-01-01", "2024-01-04", "2024-01-02"]
    expected = [1, 0, 2, 0]
    assert assign(spec, [pa.table({"t": iso})]).tolist() == expected
    stamps = pa.array(iso).cast(pa.timestamp("s"))
    assert assign(spec, [pa.table({"t": stamps})]).tolist() == expected
    assert assign(spec, [pa.table({"t": stamps.cast(pa.date32())})]).tolist() == expected


@settings(deadline=None)
@given(users=st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=80), data=st.data())
def test_users_stay_together_in_any_order(users: list[str], data: st.DataObject) -> None:
    spec = SplitSpec(by="user", column="u", validation=0.2, test=0.2)
    result = assign(spec, [pa.table({"u": users})])
    split = dict(zip(users, result.tolist(), strict=True))
    assert [split[user] for user in users] == result.tolist()
    order = data.draw(st.permutations(range(len(users))))
    moved = assign(spec, [pa.table({"u": [users[i] for i in order]})])
    assert moved.tolist() == [split[users[i]] for i in order]


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=40))
def test_last_leaves_the_latest_out(rows: list[tuple[str, int]]) -> None:
    table = pa.table({"u": [u for u, _ in rows], "t": [t for _, t in rows]})
    result = assign(SplitSpec(by="last", column="u", time="t"), [table]).tolist()
    for user in {u for u, _ in rows}:
        mine = sorted(((t, i) for i, (u, t) in enumerate(rows) if u == user))
        expected = [0] * len(mine)
        if len(mine) >= 2:
            expected[-1] = 2
        if len(mine) >= 3:
            expected[-2] = 1
        assert [result[i] for _, i in mine] == expected


def test_names() -> None:
    spec = SplitSpec(by="given", column="s")
    assert assign_by_name(spec, pa.array(["train", "val", "Test", "dev"])).tolist() == [0, 1, 2, 1]
    with pytest.raises(DataError, match="'s' holds 'holdout'"):
        assign_by_name(spec, pa.array(["holdout"]))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"by": "tiem"}, "did you mean 'time'?"),
        ({"by": "time"}, "split.column: a split by time needs a column"),
        ({"by": "last", "column": "u"}, "split.time"),
        ({"test": 1.0}, "split.test: 1.0 is not a share"),
        ({"validation": 0.5, "test": 0.5}, "leave nothing to train on"),
    ],
)
def test_refused(options: dict[str, object], part: str) -> None:
    with pytest.raises(DataError) as caught:
        SplitSpec(**options)
    assert part in str(caught.value)


def test_text_is_ordered_as_the_times_that_it_tells() -> None:
    spec = SplitSpec(by="time", column="t", validation=0.25, test=0.25)
    assert assign(spec, [pa.table({"t": ["9", "10", "7", "8"]})]).tolist() == [1, 2, 0, 0]
    for first in ("12/31/2023", "2024-1-5", "31.12.2023", "Monday", ""):
        with pytest.raises(DataError, match=f"'t' holds '{first}' in row 1"):
            assign(spec, [pa.table({"t": ["2024-01-04", first, "2024-02-01 10:00", "2024-01"]})])


def test_missing_times_name_the_row() -> None:
    with pytest.raises(DataError, match="'t' has no value in row 1"):
        assign(SplitSpec(by="time", column="t"), [pa.table({"t": [1, None]})])


@pytest.mark.parametrize("values", [np.float64, np.int32, "datetime64[ms]", str])
def test_a_long_log_is_divided_by_time_as_if_it_were_one_piece(values: Any) -> None:
    times = np.random.default_rng(0).integers(1_000, 1_200, 1_000).astype(values)
    spec = SplitSpec(by="time", column="t", validation=0.15, test=0.1)
    whole = assign(spec, [pa.table({"t": times})])
    pieces = [pa.table({"t": times[start : start + 300]}) for start in range(0, 1_000, 300)]
    np.testing.assert_array_equal(assign(spec, pieces), whole)
    assert [len(set(times[whole == item]) & set(times[whole != item])) for item in range(3)] == [0, 0, 0]
    assert (whole == 2).sum() >= 100


def test_a_missing_time_is_told_by_its_row_in_the_whole_log() -> None:
    with pytest.raises(DataError, match="'t' has no value in row 21"):
        assign(SplitSpec(by="time", column="t"), [pa.table({"t": range(16)}), pa.table({"t": [*range(5), None]})])


@pytest.mark.parametrize(
    ("by", "digest"),
    [
        ("random", "8fb574499e642738"),
        ("time", "58c5cff429f46957"),
        ("user", "3f099ba20f06d362"),
        ("last", "83f00336d3962a29"),
    ],
)
def test_rows_stay_in_the_splits_of_earlier_versions(by: str, digest: str) -> None:
    users, times = (
        [row * factor % size for row in range(20_000)] for factor, size in ((7_919, 997), (104_729, 50_021))
    )
    column = {"random": None, "time": "time"}.get(by, "user")
    spec = SplitSpec(by=by, column=column, time="time" if by == "last" else None, seed=3)
    rows = pa.table({"user": users, "time": times}).select(list(spec.columns))
    assigned = assign(spec, [rows] if spec.columns else [], 20_000)
    assert hashlib.sha256(assigned.tobytes()).hexdigest()[:16] == digest
