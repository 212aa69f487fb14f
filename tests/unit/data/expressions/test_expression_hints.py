"""Errors of expressions name what to write: backticks around odd column names, ``source.text`` for names of digits."""

import pyarrow as pa
import pytest

from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.errors import DataError

TABLE = pa.table({
    "Book-Rating": [8, 6], "class": [1, 2], "user.x": [1, 2], "Rating": [1, 2], "2nd": [1, 2], "a/b": [1, 2],
    "in": [1, 2], "Clothing ID": [1, 2],
})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Book-Rating >= 7", "`Book-Rating` >= 7"),
        ("Rating >= 1 and Book-Rating >= 7", "Rating >= 1 and `Book-Rating` >= 7"),
        ("class == 1", "`class` == 1"),
        ("not class == 1 or 'class' == 'a'", "not `class` == 1 or 'class' == 'a'"),
        ("user.x == 1", "`user.x` == 1"),
        ("2nd == 1", "`2nd` == 1"),
        ("a/b > 1", "`a/b` > 1"),
        ("Clothing ID == 1", "`Clothing ID` == 1"),
    ],
)
def test_an_odd_column_name_goes_into_backticks(text: str, advice: str) -> None:
    with pytest.raises(DataError) as caught:
        Expression(text, TABLE.column_names).evaluate(TABLE)
    assert caught.value.hint == f"put the column name in backticks: {advice}"
    assert len(Expression(advice, TABLE.column_names).evaluate(TABLE)) == 2


@pytest.mark.parametrize(
    ("text", "advice"),
    [("class == 1", "`class` == 1"), ("a > 1 and lambda > 3", "a > 1 and `lambda` > 3"), ("a.b == 1", "`a.b` == 1")],
)  # fmt: skip
def test_so_it_is_where_columns_are_not_known(text: str, advice: str) -> None:
    with pytest.raises(DataError) as caught:
        Expression(text)
    assert caught.value.hint == f"put the column name in backticks: {advice}"


def test_other_mistakes_keep_their_hints() -> None:
    for text, hint in (("Rating && 1", "write 'and'"), ("Rating = 1", "write == to compare")):
        with pytest.raises(DataError) as caught:
            Expression(text, TABLE.column_names)
        assert caught.value.hint.startswith(hint)
    with pytest.raises(DataError, match="did you mean 'Rating'"):
        Expression("Ratin > 1").evaluate(TABLE)


@pytest.mark.parametrize("text", ['Rating == "S"', '"S" != Rating', 'Rating in ["S", "M"]'])
def test_numbers_that_are_names_are_text_by_source_text(text: str) -> None:
    with pytest.raises(DataError, match=r"source\.text"):
        Expression(text, TABLE.column_names).evaluate(TABLE)


def test_text_is_still_told_to_be_quoted() -> None:
    with pytest.raises(DataError, match="put text in quotes"):
        Expression("genre == 3").evaluate(pa.table({"genre": ["drama"]}))
