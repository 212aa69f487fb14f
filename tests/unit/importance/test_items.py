"""Features that are permuted together: groups, features of one column, and wrong groups."""

import pytest

from mtl_lightning.data.features.build import build_features
from mtl_lightning.errors import MtlError
from mtl_lightning.importance.items import items

FEATURES = build_features({
    "user": "categorical",
    "item": "categorical",
    "pair": {"kind": "cross", "of": ["user", "item"]},
    "hour": {"kind": "date", "column": "time", "part": "hour"},
    "day": {"kind": "date", "column": "time", "part": "weekday"},
    "views": {"kind": "history", "of": "item", "by": "user", "time": "time"},
    "buys": {"kind": "history", "of": "item", "by": "user", "time": "time", "where": "buy == 1"},
})  # fmt: skip


def test_features_of_one_column_are_together_and_others_alone() -> None:
    assert items(FEATURES) == {
        "user": ("user",),
        "item": ("item",),
        "pair": ("pair",),
        "hour + day": ("hour", "day"),
        "views": ("views",),
        "buys": ("buys",),
    }


def test_groups_take_their_features_and_may_overlap() -> None:
    chosen = items(FEATURES, {"who": ["user", "pair", "user"], "what": ["item", "pair"]})
    assert chosen["who"] == ("user", "pair")
    assert list(chosen) == ["who", "what", "hour + day", "views", "buys"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"who": ["usr"]}, r"groups.who: no feature 'usr' \(did you mean 'user'"),
        ({"who": "user"}, r"groups.who is 'user', not a list of features \(write groups.who=\[first,second\]"),
        ({"who": []}, "not a list"),
        ({"who": [["user"]]}, "no feature"),
        ({"item": ["user"]}, "groups.item has the name of a feature that it lacks"),
    ],
)
def test_wrong_groups_are_refused(groups: dict, message: str) -> None:
    with pytest.raises(MtlError, match=message):
        items(FEATURES, groups)
