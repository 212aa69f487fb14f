"""Values from files are held to declared types, and refused with their place."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from mtl_lightning.bounds import Bounds, PositiveFloat, PositiveInt
from mtl_lightning.errors import MtlError
from mtl_lightning.schema import Field
from mtl_lightning.structure import DEEPEST, INFINITE, StructureError, check, read_json


class Fitted(TypedDict):
    mean: float
    scale: PositiveFloat
    edges: NotRequired[list[float]]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ({"mean": 1, "scale": 0.5}, Fitted),
        ({"mean": -1.5, "scale": 1, "edges": [1, 2.5]}, Fitted),
        ([1, 2, 2**63 - 1, -(2**63)], list[int]),
        (["a", "ß", "\x1b"], list[str]),
        ([True, None, "x", 1, 1.5, {"a": []}], Any),
        ([None, 3], list[int | None]),
        ([1, 2.0], tuple[float, float]),
        ({"name": "user", "kind": "categorical", "edges": [0.5]}, Field),
        (float("inf"), Annotated[float, INFINITE]),
        ([1], Annotated[list[PositiveInt], Bounds(ge=1)]),
        ("a", Literal["a", "b"]),
        ([], list[str] | list[int]),
    ],
)
def test_right_values(value: Any, hint: Any) -> None:
    check(value, hint, "here")


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ({"mean": "x", "scale": 1}, Fitted, "here.mean is 'x', not a number"),
        ({"mean": True, "scale": 1}, Fitted, "here.mean is True, not a number"),
        ({"mean": 1, "scale": 0}, Fitted, "here.scale is 0, and must be above 0"),
        ({"mean": 1}, Fitted, "here has no 'scale'"),
        ({"mean": 1, "scale": 1, "more": 1}, Fitted, "here has an unknown key 'more'"),
        ({"mean": 1, "scale": 1, "edges": [0, float("-inf")]}, Fitted, "here.edges[1] is -inf, not a finite number"),
        ([], Fitted, "here is a list of 0, not a mapping"),
        ([1, True], list[int], "here[1] is True, not an integer"),
        ([2**63], list[int], "here[0] is 9223372036854775808, which 64 bits can't hold"),
        (10**400, float, f"here is 1{'0' * 56}..., which 64 bits can't hold"),
        (["\ud800"], list[str], "here[0] is '\\ud800', which is not valid Unicode"),
        (float("nan"), Annotated[float, INFINITE], "here is nan, not a finite number"),
        ([], Annotated[list[int], Bounds(ge=1)], "here: the number of its values is 0, and must be at least 1"),
        (1.0, Literal[1], "here is 1.0, not 1"),
        ("x", int | None, "here is 'x', not an integer or null"),
        ([1, "x"], list[int] | list[str], "here[1] is 'x', not an integer"),
        ([1.0], tuple[float, float], "here is a list of 1, not a list of 2"),
        ({"a\n\x1b": float("nan")}, dict[str, float], "here.'a\\n\\x1b' is nan, not a finite number"),
        ({1: 2}, Any, "here (key) is 1, not text"),
        (b"x", Any, "here is a bytes, not a mapping"),
    ],
)
def test_wrong_values(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(StructureError) as refused:
        check(value, hint, "here")
    assert refused.value.message == message


@pytest.mark.parametrize(("levels", "right"), [(DEEPEST, True), (DEEPEST + 2, False), (900, False)])
def test_nesting_has_an_end(levels: int, right: bool) -> None:
    value = json.loads("[" * levels + "]" * levels)
    if right:
        check(value, Any, "here")
    else:
        with pytest.raises(StructureError, match=f"deeper than {DEEPEST} levels"):
            check(value, Any, "here")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000])
def test_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(MtlError, match=r"a\.json can't be read"):
        read_json(tmp_path / "a.json", 1 << 20)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "b.json", 1 << 20)
