"""Admission, expiry and eviction of ids over several runs, against their definition in plain Python."""

import json

import pyarrow as pa
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mtl_lightning.build import build_module
from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation import growth
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.frames import as_array
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.fitting.warm_start import table_rows


class Definition:
    """Meaning of the options, value by value."""

    def __init__(self, admit=1, expire=None, max_size=None, evict=False):
        self.admit, self.expire, self.max_size, self.evict = admit, expire, max_size, evict
        self.counts, self.seen, self.ids = {}, {}, []

    def run(self, occurrences):
        for value, time in occurrences:
            self.counts[value] = self.counts.get(value, 0) + 1
            self.seen.setdefault(value, None)
            if time is not None:
                self.seen[value] = time if self.seen[value] is None else max(time, self.seen[value])
        known = [time for time in self.seen.values() if time is not None]
        if known:
            latest = max(known)
            self.seen = {value: latest if time is None else time for value, time in self.seen.items()}
            for value in [value for value, time in self.seen.items() if self.expire and latest - time > self.expire]:
                del self.counts[value], self.seen[value]
        self.ids = [value for value in self.ids if value in self.counts]
        new = [value for value in self.counts if value not in self.ids and self.counts[value] >= self.admit]
        new.sort(key=lambda value: (-self.counts[value], value))
        if self.max_size is None:
            self.ids += new
        elif not self.evict:
            self.ids += new[: max(self.max_size - len(self.ids), 0)]
        else:
            rank = {value: (-self.counts[value], place) for place, value in enumerate([*self.ids, *new])}
            chosen = set(sorted(rank, key=rank.get)[: self.max_size])
            self.ids = [value for value in [*self.ids, *new] if value in chosen]


def options_of(admit, expire, max_size, evict):
    options = {"admit": admit, "expire": expire, "max_size": max_size, "evict": evict and max_size is not None}
    return options | ({"time": "time"} if expire else {})


def fitted(blocks, base, item, **more):
    features = {"item": {"kind": "categorical", **item}, "list": {"kind": "sequence", "of": "item"}, **more}
    transforms = Transforms(build_features(features), ())
    if base is not None:  # as a later run reads it
        growth.begin(transforms, Transforms.from_dict(json.loads(json.dumps(base.to_dict()))))
    earlier = transforms.base
    transforms.fit(blocks)
    return transforms, earlier


def block(rows):
    items, lists, times = zip(*rows, strict=True)
    return pa.table({"item": as_array(items, "item"), "list": pa.array(lists), "time": pa.array(times, pa.float64())})


def tagged(module, transforms):
    """A table in which each row has its value's number; rows of missing and unknown values are 0 and 1."""
    weight = torch.zeros_like(module.network.encoder.table.weight)
    keys = transforms.transforms["item"].table.vocabulary.keys.to_pylist()
    weight[1] = 1.0
    weight[2:] = torch.tensor([int(str(key).removeprefix("i")) + 100.0 for key in keys])[:, None]
    return weight


ROW = st.tuples(
    st.integers(0, 9), st.lists(st.integers(0, 9), max_size=2), st.one_of(st.none(), st.integers(0, 9).map(float))
)
DAYS = st.lists(st.lists(st.lists(ROW, min_size=1, max_size=6), min_size=1, max_size=3), min_size=1, max_size=4)


@settings(max_examples=40)
@given(
    DAYS, st.integers(1, 3), st.sampled_from([None, 4, 15]), st.sampled_from([None, 1, 4]), st.booleans(), st.booleans()
)
@example([[[(1, [], 0.0)]], [[(2, [], 9.0)]], [[(1, [], 9.0)]]], 1, 4, None, False, True)  # 1 expires and returns
@example([[[(1, [], None)]], [[(2, [2], None)]]], 1, None, 1, True, False)  # 2 takes the place of 1
def test_ids_are_those_of_the_definition(days, admit, expire, max_size, evict, as_text):
    item = options_of(admit, expire, max_size, evict)
    definition = Definition(admit, expire, max_size, item["evict"])
    base = module = None
    for number, files in enumerate(days):
        name = (lambda value: f"i{value}") if as_text else int
        rows = [
            [
                (name(value), [*map(name, values)], None if time is None else time + 10 * number)
                for value, values, time in file
            ]
            for file in files
        ]
        # Lists of a day without any value have no type of their own.
        rows[0].append((name(0), [name(0)], None))
        before = list(definition.ids)
        definition.run([(value, time) for file in rows for main, values, time in file for value in (main, *values)])
        transforms, earlier = fitted([block(file) for file in rows], base, item)
        table = transforms.transforms["item"].table
        assert table.vocabulary.keys.to_pylist() == definition.ids
        waiting = {value for value in definition.counts if value not in definition.ids}
        assert set(table.usage.waiting.to_pylist()) == waiting
        counts = growth.turnover(transforms, earlier)["item"]
        assert counts == {
            "ids": len(definition.ids),
            "admitted": len(set(definition.ids) - set(before)),
            "expired": len(set(before) - set(definition.ids) - waiting),
            "evicted": len(set(before) & waiting),
            "waiting": len(waiting),
        }
        # The encoder's table: every value that stays keeps its row, and no other row is written.
        old, module = module, build_module(transforms.schema, encoder={"name": "embedding", "width": 2})
        if base is not None:
            grown = torch.full_like(module.network.encoder.table.weight, -1.0)
            left = {name: torch.from_numpy(ids) for name, ids in growth.stayed(transforms, base).items()}
            was = tagged(old, base)
            for new, places in table_rows(module, base.schema, 0, grown, was, left):
                grown[new] = was[places]
            expected = tagged(module, transforms)
            fresh = [place + 2 for place, value in enumerate(definition.ids) if value not in before]
            expected[fresh] = -1.0
            expected[0] = -1.0  # padding is not copied: it is zero in both
            assert torch.equal(grown, expected)
        base = transforms


DAY = [(1, [2], 0.0), (2, [], 1.0), (3, [3], 2.0)]
EXPIRING = {"expire": 5, "time": "time"}


def test_times_of_two_forms_are_refused():
    base, _ = fitted([block(DAY)], None, EXPIRING)
    dated = block(DAY).set_column(2, "time", pa.array(["2024-05-31", "2024-06-01", None]))
    with pytest.raises(DataError, match=r"features\.item: the column 'time' holds times where it held numbers"):
        fitted([dated], base, EXPIRING)[0].encode(dated)
    with pytest.raises(DataError, match=r"features\.item: the time column 'time' holds times and numbers"):
        fitted([dated, block(DAY)], None, EXPIRING)


def test_an_infinite_time_is_refused():  # all other values would expire
    rows = block(DAY).set_column(2, "time", pa.array([0.0, float("inf"), None]))
    with pytest.raises(DataError, match=r"^features\.item: the time column 'time' is infinite in row 1"):
        fitted([rows], None, EXPIRING)


def test_events_of_files_cannot_count_again_in_each_run():
    seen = {"kind": "history", "by": "user", "time": "time", "of": "item", "from": {"path": "events.parquet"}}
    with pytest.raises(DataError, match=r"features\.seen: has files of its own.* 'item' again"):
        fitted([block(DAY)], None, {"admit": 2}, seen=seen)
    with pytest.raises(DataError, match=r"features\.list: admit, expire and evict are set with of"):
        fitted([block(DAY)], None, {}, list={"kind": "sequence", "of": "item", "admit": 2})


@pytest.mark.parametrize("leaving", [EXPIRING, {"evict": True, "max_size": 9}])
def test_a_cross_hashes_no_ids_that_are_renumbered(leaving):
    others = {"moment": {"kind": "categorical", "column": "time"}, "pair": {"kind": "cross", "of": ["moment", "item"]}}
    with pytest.raises(DataError, match=r"features\.pair\.of: 'item' has expire or evict, .*hashes.*name another"):
        fitted([block(DAY)], None, leaving, **others)
    fitted([block(DAY)], None, {"admit": 2, "max_size": 9}, **others)


def test_a_wrong_time_names_no_option_that_is_missing():
    rows = block(DAY).set_column(2, "time", pa.array(["31.05.2024", None, None]))
    with pytest.raises(DataError, match=r"^features\.item: .*'31\.05\.2024' in row 0.*ISO 8601") as caught:
        fitted([rows], None, EXPIRING)
    assert caught.value.hint == "write it like 2024-05-31 13:30"


@pytest.mark.parametrize(
    ("usage", "message"),
    [
        ({"counts": [1]}, r"usage\.counts is a list of 1, not 3 numbers"),
        ({"seen": [1.0]}, r"usage\.seen is a list of 1, not 3 numbers"),
        ({"counts": [1, 1, -1]}, r"usage\.counts\[2\] is -1"),
        ({"waiting": [3]}, r"keys: 3 is listed twice"),
        ({"waiting": ["x"]}, r"usage\.waiting\[0\] is 'x', not an integer"),
    ],
)
def test_a_hostile_usage_is_refused(usage, message):
    state = fitted([block(DAY)], None, {"admit": 2, **EXPIRING})[0].to_dict()
    state["features"]["item"]["fitted"]["usage"].update(usage)
    with pytest.raises(MtlError, match=message):
        Transforms.from_dict(state)
