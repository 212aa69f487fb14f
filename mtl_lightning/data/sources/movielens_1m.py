"""MovieLens-1M: ratings of films, from the raw files."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.sources.delimited import Form, read_blocks
from mtl_lightning.data.sources.join import join
from mtl_lightning.data.sources.multivalued import as_list, words
from mtl_lightning.data.sources.raw_log import RawLog, declare
from mtl_lightning.errors import DataError

LINE = Form(columns={"line": pa.string()}, separator="\x1f", header=False, quoted=False, encoding="iso-8859-1")
"""Format that reads a line as a single value: values are separated by ``::``, so lines are split afterwards."""
RATINGS = {"user_id": pa.int64(), "item_id": pa.int64(), "rating": pa.int64(), "timestamp": pa.int64()}
USERS = {
    "user_id": pa.int64(),
    "gender": pa.string(),
    "age": pa.int64(),
    "occupation": pa.int64(),
    "zip_code": pa.string(),
}
MOVIES = {"item_id": pa.int64(), "title": pa.string(), "genres": pa.string()}


class MovieLens1M(RawLog):
    """Source of 1,000,209 ratings (1 to 5) of 3,883 films by 6,040 users (Harper and Konstan, 2015).

    ``age`` is the lower bound of a bucket, therefore a category. ``release_year`` comes from the end of the title.

    Args:
        path: Directory with ``ratings.dat``, ``users.dat`` and ``movies.dat``.

    Raises:
        DataError: If a file is missing, or a line has a wrong number of values.

    Example:
        >>> MovieLens1M(path="ml-1m").schema().features["genres"]
        {'kind': 'sequence', 'length': 6}
    """

    name = "movielens_1m"
    raw, arrow = declare(
        {
            "user_id": (pa.int64(), "categorical"),
            "item_id": (pa.int64(), "categorical"),
            "rating": (pa.int64(), None),
            "timestamp": (pa.int64(), None),
            "gender": (pa.string(), "categorical"),
            "age": (pa.int64(), "categorical"),
            "occupation": (pa.int64(), "categorical"),
            "zip_code": (pa.string(), "categorical"),
            "title": (pa.string(), None),
            "title_words": (pa.list_(pa.string()), None),
            "release_year": (pa.int64(), "numeric"),
            "genres": (pa.list_(pa.string()), {"kind": "sequence", "length": 6}),
        },
        {
            "like": {"kind": "binary", "label": "rating >= 4"},
            "love": {"kind": "binary", "label": "rating >= 5", "parents": ["like"]},
        },
        time="timestamp",
        group="user_id",
        after_event=("rating",),
    )

    def files(self) -> list[Path]:
        """Ratings, users, films."""
        return [self.find("ratings.dat"), self.find("users.dat"), self.find("movies.dat")]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the ratings with their users and films."""
        ratings, users_path, movies_path = self.files()
        users, movies = _read_table(users_path, USERS), _read_table(movies_path, MOVIES)
        parts = pc.extract_regex(movies["title"], r"^(?P<title>.*) \((?P<year>\d{4})\)$")
        named = pc.is_valid(parts)
        movies = pa.table(
            {
                "item_id": movies["item_id"],
                "title": pc.if_else(named, pc.struct_field(parts, "title"), movies["title"]),
                "release_year": pc.struct_field(parts, "year").cast(pa.int64()),
                "genres": as_list(movies["genres"], "|"),
            }
        )
        movies = movies.append_column("title_words", words(movies["title"]))
        for block in _tables(ratings, RATINGS):
            yield join(join(block, users, "user_id"), movies, "item_id")


def _tables(path: Path, columns: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    line = 1
    for batch in read_blocks(path, LINE):
        values = pc.split_pattern(batch["line"], "::")
        wrong = pc.not_equal(pc.list_value_length(values), len(columns))
        if pc.any(wrong).as_py():
            place = pc.index(wrong, True).as_py()
            got = len(values[place])
            raise DataError(f"{path}: line {line + place} has {got} values where {len(columns)} are expected")
        texts = {name: pc.list_element(values, n) for n, name in enumerate(columns)}
        for name, kind in columns.items():
            # At most 18 digits, which always fit into the type.
            wrong = pc.invert(pc.match_substring_regex(texts[name], "" if kind == pa.string() else r"^-?[0-9]{1,18}$"))
            if pc.any(wrong).as_py():
                place = pc.index(wrong, True).as_py()
                value = texts[name][place].as_py()
                raise DataError(f"{path}: line {line + place}: {name} is {value!r}, which is not {kind}")
        yield pa.table({name: texts[name].cast(kind) for name, kind in columns.items()})
        line += batch.num_rows


def _read_table(path: Path, columns: Mapping[str, pa.DataType]) -> pa.Table:
    return pa.concat_tables([*_tables(path, columns), pa.schema(list(columns.items())).empty_table()])
