"""Whatever a user writes after the first = arrives as written."""

import json
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.config.layers import lay_over, read_layer
from mtl_lightning.config.pairs import read_overrides
from mtl_lightning.config.recipe import compose, dump, resolve
from mtl_lightning.errors import MtlError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
KEYS = st.text("abcdefgh_", min_size=1, max_size=6)
LEAVES = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False) | TEXT
PLAIN = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
LITERAL = {"", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"}


def is_verbatim(text: str) -> bool:
    """True for texts that mean themselves: no number, no list, no interpolation, no quotes."""
    plain = text.strip()
    if plain in LITERAL or plain[0] in "[{\"'" or "$" in text or "\\" in text:
        return False
    try:
        float(plain)
    except ValueError:
        return plain.lstrip("+-") not in (".inf", ".nan")
    return False


@given(TEXT.filter(is_verbatim))
def test_text_is_kept_verbatim(text: str) -> None:
    assert resolve(read_overrides([f"source.path={text}"])) == {"source": {"path": text}}


@given(st.integers(-(10**18), 10**18))
def test_integers_are_integers(number: int) -> None:
    assert read_overrides([f"seed={number}"]) == {"seed": number}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_floats(number: float) -> None:
    assert read_overrides([f"weighter.eps={number!r}"]) == {"weighter": {"eps": number}}


@given(st.lists(st.integers(-5, 1000), max_size=4))
def test_lists_are_lists(values: list[int]) -> None:
    assert read_overrides([f"encoder.hidden={json.dumps(values)}"]) == {"encoder": {"hidden": values}}


@given(st.dictionaries(KEYS, PLAIN, max_size=4))
def test_dump_reloads_to_the_same_mapping(plain: dict[str, object]) -> None:
    """Also where a value holds what looks like an interpolation."""
    sections = {"source": {"name": "table", **plain}}
    assert resolve(read_layer(dump(sections), "dump")) == sections


@given(st.dictionaries(KEYS, PLAIN, max_size=4), st.dictionaries(KEYS, PLAIN, max_size=4))
def test_an_upper_layer_wins_and_nothing_is_invented(below: dict[str, object], above: dict[str, object]) -> None:
    merged = lay_over({"trainer": below}, {"trainer": above})["trainer"]
    assert set(merged) == set(below) | set(above)
    for key, value in above.items():
        if not isinstance(value, dict):
            assert merged[key] == value


@settings(max_examples=30, deadline=None)
@given(TEXT.filter(is_verbatim), st.integers(0, 2**32 - 1))
def test_pairs_reach_the_composed_recipe(text: str, seed: int) -> None:
    composed = compose("ads", [f"tasks.click.label={text}", f"seed={seed}"])
    assert composed.plain["tasks"]["click"]["label"] == text
    assert composed.plain["seed"] == seed


@given(st.text("ab=. $", min_size=1, max_size=8))
def test_any_argument_is_read_or_refused_by_name(argument: str) -> None:
    key, equals, _ = argument.partition("=")
    if equals and all(part.strip() for part in key.strip().split(".")) and "$" not in argument:
        assert read_overrides([argument])
        return
    with suppress(MtlError):
        read_overrides([argument])
        return
    with pytest.raises(MtlError, match=re.escape(repr(argument))):
        read_overrides([argument])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("数据/日志*.csv", "数据/日志*.csv"),
        ("rating >= 4", "rating >= 4"),
        ("a,b", "a,b"),
        ("*.parquet", "*.parquet"),
        ("[ab]*.csv", "[ab]*.csv"),
        ("a=b", "a=b"),
        ("x #1", "x #1"),
        ("a: b", "a: b"),
        ("007", "007"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("on", "on"),
        ("1e-4", 1e-4),
        ("-3", -3),
        ("true", True),
        ("null", None),
        ("", None),
        ("'7'", "7"),
        ("[1, 2]", [1, 2]),
        ("{kind: numeric}", {"kind": "numeric"}),
        ("C:\\data\\x.csv", "C:\\data\\x.csv"),
    ],
)
def test_values(written: str, meant: object) -> None:
    assert read_overrides([f"source.path={written}"]) == {"source": {"path": meant}}
