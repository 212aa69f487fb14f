"""Bounds in type hints: a recipe's numbers that are too small or too large are reported."""

import pickle
from collections.abc import Mapping
from typing import Annotated

import pytest

from mtl_lightning.bounds import Bounds, DropRate, NonNegativeInt, PositiveFloat, PositiveInt, Share, Sizes
from mtl_lightning.build import build_module
from mtl_lightning.config import compose, validate
from mtl_lightning.errors import ConfigError
from mtl_lightning.schema import Schema, Task
from mtl_lightning.validation.binding import bind
from mtl_lightning.validation.values import MismatchError, coerce, describe


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, PositiveInt, 1),
        (0, NonNegativeInt, 0),
        ("1e-4", PositiveFloat, 1e-4),
        (1, Share, 1.0),
        (0, DropRate, 0.0),
        (None, PositiveInt | None, None),
        ([8, 4.0], Sizes, [8, 4]),
        ({"click": 2}, Mapping[str, PositiveFloat], {"click": 2.0}),
    ],
)
def test_what_is_within(value, hint, expected):
    assert coerce(value, hint) == expected


@pytest.mark.parametrize(
    ("value", "hint", "reason", "inner"),
    [
        (0, PositiveInt, "is 0, and must be at least 1", ""),
        (-1, NonNegativeInt, "is -1, and must be at least 0", ""),
        (0.0, PositiveFloat, "is 0.0, and must be above 0", ""),
        (1.5, Share, "is 1.5, and must be at least 0 and at most 1", ""),
        (1, DropRate, "is 1.0, and must be at least 0 and below 1", ""),
        (float("nan"), DropRate, "is nan, and must be at least 0 and below 1", ""),
        (0, PositiveInt | None, "is 0, and must be at least 1", ""),
        ([8, 0], Sizes, "is 0, and must be at least 1", "1"),
        ({"click": -2}, Mapping[str, PositiveFloat], "is -2.0, and must be above 0", "click"),
        ("two", PositiveInt, "expects an integer, not 'two'", ""),
        (8, Sizes, "expects a list of integers, not 8", ""),
    ],
)
def test_what_is_not(value, hint, reason, inner):
    with pytest.raises(MismatchError) as report:
        coerce(value, hint)
    assert (report.value.reason, report.value.inner) == (reason, inner)


def test_markers_of_other_libraries_serve():
    class Gt:
        gt = 2

    assert coerce(3, Annotated[int, "a comment", Gt()]) == 3
    with pytest.raises(MismatchError, match="must be above 2"):
        coerce(2, Annotated[int, "a comment", Gt()])
    assert describe(Annotated[int, Bounds(ge=1)] | None) == "an integer or null"


def test_options_handed_on_to_a_base_keep_their_bounds():
    problems = []
    registry_class = type("Base", (), {"__init__": _base})
    derived = type("Derived", (registry_class,), {"__init__": _derived})
    bind(derived, {"width": 0, "depth": 0}, "encoder", problems)
    assert [str(problem) for problem in problems] == [
        "encoder.width: is 0, and must be at least 1",
        "encoder.depth: is 0, and must be at least 1",
    ]


def _base(self, schema, *, width: PositiveInt = 16): ...


def _derived(self, schema, *, depth: PositiveInt = 2, **options): ...


@pytest.mark.parametrize(
    ("pair", "place"),
    [
        ("encoder.width=0", "encoder.width"),
        ("encoder.step_dropout=1", "encoder.step_dropout"),
        ("architecture.hidden=[64,-3]", "architecture.hidden.1"),
        ("architecture.experts=-1", "architecture.experts"),
        ("heads.click.dropout=1.5", "heads.click.dropout"),
        ("weighter={name: pcgrad, every: 0}", "weighter.every"),
        ("weighter={name: fairgrad, alpha: 0}", "weighter.alpha"),
        ("weighter={name: dwa, window: 0}", "weighter.window"),
        ("weighter={name: stch, mu: 0}", "weighter.mu"),
        ("weighter={name: graddrop, leak: 1.5}", "weighter.leak"),
        ("losses.click={name: focal, gamma: -1}", "losses.click.gamma"),
        ("losses.click={name: focal, gamma: .nan}", "losses.click.gamma"),
        ("losses.click={name: focal, alpha: 1.5}", "losses.click.alpha"),
    ],
)
def test_recipes_are_told_before_anything_is_read(pair, place):
    with pytest.raises(ConfigError) as report:
        validate(compose("ads", [pair]).plain)
    assert [problem.path for problem in report.value.problems] == [place]
    assert "must be" in report.value.problems[0].reason
    assert str(pickle.loads(pickle.dumps(report.value))) == str(report.value)  # workers pickle what they raise


def test_python_is_told_as_recipes_are():
    schema = Schema((), (Task(name="click", kind="binary", label="click"),))
    with pytest.raises(ConfigError, match=r"weighter\.every: is 0, and must be at least 1"):
        build_module(schema, weighter={"name": "pcgrad", "every": 0})
    with pytest.raises(ConfigError, match=r"head\.hiden: unknown option .*did you mean 'hidden'"):
        build_module(schema, heads={"click": {"name": "binary", "hiden": [8]}})
