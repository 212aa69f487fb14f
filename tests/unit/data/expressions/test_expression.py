"""Expressions against Python's own evaluation, null semantics, and refusals."""

import ast

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.errors import DataError

TABLE = pa.table(
    {
        "rating": [5, 3, None, 4],
        "click": [1, 0, 1, None],
        "seen": [True, False, None, True],
        "price": [1.5, float("nan"), 0.0, -2.0],
        "genre": ["drama", "", None, "war"],
        "Clothing ID": [1, 2, 3, 4],
        "day": pa.array([0, 86_400, 172_800, None], pa.timestamp("s")),
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rating >= 4", [True, False, None, True]),
        ("rating", [5, 3, None, 4]),
        ("click == 1 and rating > 3", [True, False, None, None]),
        ("click == 0 or rating > 3", [True, True, None, True]),
        ("not seen", [False, True, None, False]),
        ("seen == 1", [True, False, None, True]),
        ("is_null(price)", [False, True, False, False]),
        ("3 <= rating < 5", [False, True, None, True]),
        ("genre in ['drama', 'war']", [True, False, None, True]),
        ("genre not in ('drama',)", [False, True, None, True]),
        ("rating in [5, 4.0]", [True, False, None, True]),
        ("price / click", [1.5, None, 0.0, None]),
        ("rating // 2", [2, 1, None, 2]),
        ("-rating % 3", [1, 0, None, 2]),
        ("2 ** rating", [32.0, 8.0, None, 16.0]),
        ("`Clothing ID` > 2", [False, False, True, True]),
        ("Clothing ID", [1, 2, 3, 4]),
        ("coalesce(rating, 0)", [5, 3, 0, 4]),
        ("maximum(rating, 4)", [5.0, 4.0, None, 4.0]),
        ("if_else(click, 'yes', genre)", ["yes", "", "yes", None]),
        ("log(price)", [pytest.approx(0.405465), None, None, None]),
        ("contains(genre, 'a')", [True, False, None, True]),
        ("length(genre)", [5, 0, None, 3]),
        ('day >= "1970-01-02"', [False, True, True, None]),
        ("rating - click", [4, 3, None, None]),
    ],
)
def test_values(text: str, expected: list[object]) -> None:
    assert Expression(text, TABLE.column_names).evaluate(TABLE).to_pylist() == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("rating = 4", "write == to compare"),
        ("rating => 4", "is not an expression"),
        ("a && b", "write 'and'"),
        ("rating & 1", "write 'and', 'or'"),
        ("Clothing ID > 2", "backticks"),
        ("__import__('os').system('true')", "not allowed"),
        ("open('/etc/passwd')", "no function 'open'"),
        ("rating.real", "not allowed"),
        ("[x for x in rating]", "not allowed"),
        ("lambda: 1", "not allowed"),
        ("rating == None", "is_null(x)"),
        ("rating is 4", "write =="),
        ("1 + 1", "uses no column"),
        ("rating in genre", "list of constants"),
        ("is_nul(rating)", "did you mean 'is_null'?"),
        ("is_null()", "takes 1 arguments, not 0"),
        ("(" * 500 + "rating" + ")" * 500, "is not an expression"),
        ("-" * 1900 + "rating", "nested too deeply"),
        ("rating" + " + 1" * 400, "nested too deeply"),
        ("rating == " + "9" * 400, "too large"),
        ("x" * 3000, "3000 characters"),
        ("rating\x00", "is not an expression"),
    ],
)
def test_refused_when_parsed(text: str, part: str) -> None:
    with pytest.raises(DataError) as caught:
        Expression(text, place="tasks.x.label")
    assert str(caught.value).startswith("tasks.x.label: ")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("ratng >= 4", "did you mean 'rating'?"),
        ("genre >= 4", "compares text with a number"),
        ("genre + 1", "text where a number is needed"),
        ("lower(rating)", "a number where text is needed"),
        ('day > "yesterday"', "is not a time"),
        ("rating * 9223372036854775807", "overflow"),
    ],
)
def test_refused_when_evaluated(text: str, part: str) -> None:
    with pytest.raises(DataError, match="tasks") as caught:
        Expression(text, place="tasks.x.label").evaluate(TABLE)
    assert part in str(caught.value)


def test_long_but_shallow_ones_are_computed() -> None:
    text = " or ".join(["rating == 3"] * 80) + " or " + " + ".join(["rating"] * 60) + " > 0"
    assert Expression(text).evaluate(pa.table({"rating": [1, -1]})).to_pylist() == [True, False]


def test_type_is_known_without_rows() -> None:
    assert Expression("rating >= 4").result_type(TABLE.schema) == pa.bool_()
    with pytest.raises(DataError):
        Expression("genre >= 4").result_type(TABLE.schema)


NUMBERS = st.integers(-50, 50)
LEAVES = st.sampled_from(["a", "b", "3", "-2", "0"])


def _combine(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(children, children)
    arithmetic = st.tuples(pair, st.sampled_from(["+", "-", "*", "//", "%"]))
    comparison = st.tuples(pair, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]))
    return st.one_of(
        arithmetic.map(lambda item: f"({item[0][0]} {item[1]} {item[0][1]})"),
        comparison.map(lambda entry: f"(({entry[0][0]} {entry[1]} {entry[0][1]}) + 0)"),
    )


@settings(max_examples=200, deadline=None)
@given(text=st.recursive(LEAVES, _combine, max_leaves=8), rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1))
def test_integers_agree_with_python(text: str, rows: list[tuple[int, int]]) -> None:
    text = f"{text} + a * 0 + b * 0"
    table = pa.table({"a": [a for a, _ in rows], "b": [b for _, b in rows]})
    try:
        result = Expression(text).evaluate(table).to_pylist()
    except DataError as error:
        if "overflow" not in str(error):
            raise
        return
    code = compile(ast.parse(text, mode="eval"), "<test>", "eval")
    for value, (a, b) in zip(result, rows, strict=True):
        try:
            expected = eval(code, {"__builtins__": {}}, {"a": a, "b": b})
        except ZeroDivisionError:
            expected = None
        assert value == expected
