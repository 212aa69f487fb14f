"""Overlap of two lists against Python's sets, in all formats of lists and in requests."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.features.build import build_features
from mtl_lightning.data.preparation.row_encoder import RowEncoder
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.errors import DataError

LISTS = st.lists(st.sampled_from([1, 2, 3, 7, 10]), max_size=5)


def measures(user, item):
    """Count, share and Jaccard index of two lists; a rate is -1 where it divides by 0."""
    both, either = len(user & item), len(user | item)
    return [both, both / len(item) if item else -1, both / either if either else -1]


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(LISTS, LISTS), min_size=1, max_size=8))
def test_measures_are_the_ones_of_sets(rows):
    kinds = {name: {"kind": "overlap", "of": ["user", "item"], "as": name, "separator": "|", "transform": "none"}
             for name in ("count", "share", "jaccard")}  # fmt: skip
    transforms = Transforms(build_features(kinds), ())
    user, item = zip(*rows, strict=True)
    lists = pa.table({"user": pa.array(user, pa.list_(pa.int64())), "item": pa.array(item, pa.list_(pa.int64()))})
    text = pa.table({"user": ["|".join(map(str, row)) for row in user], "item": lists["item"]})
    transforms.fit([lists])
    expected = [measures(set(user_list), set(item_list)) for user_list, item_list in rows]
    means = [transforms.transforms[name].scale.known_mean for name in kinds]
    filled = [[mean if value < 0 else value for value, mean in zip(row, means, strict=True)] for row in expected]
    request = {name: text[name].to_pylist() for name in text.column_names}
    for dense in (
        transforms.encode(lists).dense.numpy(), transforms.encode(text).dense.numpy(),
        RowEncoder(Transforms.from_dict(transforms.to_dict())).encode(request, len(rows))["dense"],
    ):  # fmt: skip
        for got, want in zip(dense.tolist(), filled, strict=True):
            assert got == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": ["a"]}, "two columns"),
        ({"of": ["a", "a"]}, "two different columns"),
        ({"of": ["a", "b"], "as": "shares"}, "features.f.as: .*'count'"),
        ({"of": ["a", "b"], "transform": "logs"}, "did you mean 'log'"),
        ({"of": ["a", "b"], "separator": ""}, "separator is empty"),
    ],
)
def test_options_that_are_wrong_are_refused_with_their_place(options, message):
    with pytest.raises(DataError, match=message) as caught:
        build_features({"f": {"kind": "overlap", **options}})
    assert "features.f" in str(caught.value)
