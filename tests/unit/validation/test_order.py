"""The order of tasks and features follows what they need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_lightning.validation.order import CycleError, sort_by_needs

NAMES = [f"n{i}" for i in range(8)]


@given(st.permutations(NAMES), st.data())
def test_needs_come_first_and_the_given_order_decides_otherwise(names: list[str], data: st.DataObject) -> None:
    ranks = {name: i for i, name in enumerate(sorted(names))}
    needs = {
        name: [other for other in names if ranks[other] < ranks[name] and data.draw(st.booleans())] for name in names
    }
    remaining, expected = list(needs), []
    while remaining:
        first = next(name for name in remaining if not set(needs[name]) & set(remaining))
        remaining.remove(first)
        expected.append(first)
    assert sort_by_needs(needs) == expected


def test_unknown_needs_are_ignored() -> None:
    assert sort_by_needs({"b": ["missing", "a"], "a": ["missing"]}) == ["a", "b"]


@pytest.mark.parametrize(
    ("needs", "chain"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"a": [], "b": ["a", "c"], "c": ["b"]}, ("b", "c", "b")),
        ({"x": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]}, ("b", "c", "d", "b")),
    ],
)
def test_a_cycle_is_named_without_what_leads_to_it(needs: dict[str, list[str]], chain: tuple[str, ...]) -> None:
    with pytest.raises(CycleError) as caught:
        sort_by_needs(needs)
    assert caught.value.chain == chain


def test_long_chains_need_no_recursion() -> None:
    names = [f"n{i}" for i in range(20_000)]
    needs = {name: [other] for name, other in zip(names, [*names[1:], "end"], strict=True)}
    assert sort_by_needs(needs) == names[::-1]
