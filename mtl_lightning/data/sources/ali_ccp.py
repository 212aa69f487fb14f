"""Ali-CCP: impressions of a shop's recommendations, from the raw files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.sources.delimited import Form, read_blocks, read_tables
from mtl_lightning.data.sources.multivalued import as_list
from mtl_lightning.data.sources.raw_log import RawLog, append_columns, declare

# Fields of the file of common features, and of the skeleton.
COMMON_FIELDS = ("101", "109_14", "110_14", "127_14", "150_14", "121", "122", "124", "125", "126", "127", "128", "129")
OWN_FIELDS = ("205", "206", "207", "210", "216", "508", "509", "702", "853", "301")
SEVERAL = {"109_14": 50, "110_14": 50, "127_14": 50, "150_14": 50, "210": 10, "508": 5, "509": 5, "702": 5, "853": 10}
"""Fields with many values, and the suggested length of their sequences."""
SKELETON = Form(
    columns={
        "sample_id": pa.string(),
        "click": pa.int8(),
        "purchase": pa.int8(),
        "common_feature_index": pa.string(),
        "feature_num": pa.int64(),
        "feature_list": pa.string(),
    },
    header=False,
    quoted=False,
)
COMMON = Form(
    columns={"common_feature_index": pa.string(), "feature_num": pa.int64(), "feature_list": pa.string()},
    header=False,
    quoted=False,
)
LIST = pa.list_(pa.string())


class AliCCP(RawLog):
    """Source of 84 million impressions of a shop's recommendations, with clicks and purchases (Ma et al., 2018).

    - Fields are named ``f101`` and so on. They are lists of feature ids, because every field may repeat; a missing
      field is an empty list.
    - Features that impressions of a user have in common come from the file of common features.
    - Impressions with a purchase but no click, which the raw file has, are dropped.

    Args:
        path: Directory with ``sample_skeleton_{train,test}.csv`` and ``common_features_{train,test}.csv``.

    Raises:
        DataError: If a file is missing, a line has a wrong number of values, or an index is repeated.

    Example:
        >>> AliCCP(path="ali-ccp").schema().tasks["purchase"]["parents"]
        ['click']
    """

    name = "ali_ccp"
    raw, arrow = declare(
        {"sample_id": (pa.string(), None), "click": (pa.int8(), None), "purchase": (pa.int8(), None)}
        | {
            f"f{field}": (LIST, {"kind": "sequence", "length": SEVERAL.get(field, 1)})
            for field in (*COMMON_FIELDS, *OWN_FIELDS)
        },
        {
            "click": {"kind": "binary", "label": "click"},
            "purchase": {"kind": "binary", "label": "purchase", "parents": ["click"]},
        },
        splits=("train", "test"),
        after_event=("click", "purchase"),
    )

    def files(self) -> list[Path]:
        """Skeletons and common features of both splits."""
        return [
            self.find(f"{kind}_{split}.csv")
            for split in self.raw.splits
            for kind in ("sample_skeleton", "common_features")
        ]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the impressions of a split, with the features of both files."""
        skeleton, common = self.find(f"sample_skeleton_{split}.csv"), self.find(f"common_features_{split}.csv")
        kinds = {"common_feature_index": pa.string()} | {f"f{field}": LIST for field in COMMON_FIELDS}
        shared = self.side(f"common-{split}", [common], kinds, "common_feature_index", _common(common))
        for table in read_tables(skeleton, SKELETON):
            table = table.filter(pc.or_(pc.equal(table["click"], 1), pc.equal(table["purchase"], 0)))
            own = fields_of(table["feature_list"].combine_chunks(), OWN_FIELDS)
            yield append_columns(append_columns(table, own), _filled(shared.take(table["common_feature_index"])))


def fields_of(texts: pa.Array, fields: tuple[str, ...]) -> pa.Table:
    r"""Extract feature ids by field from pieces ``field\x02id\x03value`` joined by ``\x01``.

    Args:
        texts: Joined pieces of each row, [N].
        fields: Fields to extract.

    Example:
        >>> fields_of(pa.array(["205\x02a\x031.0\x01205\x02b\x031.0\x01999\x02c\x031.0", None]), ("205",)).to_pydict()
        {'f205': [['a', 'b'], []]}
    """
    pieces = as_list(texts, "\x01")
    row = np.repeat(np.arange(len(texts)), np.diff(pieces.offsets.to_numpy()))
    parts = pc.extract_regex(pieces.values, "^(?P<field>[^\x02]*)\x02(?P<id>[^\x03]*)")
    field, ids = pc.struct_field(parts, "field"), pc.struct_field(parts, "id")
    columns = {}
    for name in fields:
        here = pc.fill_null(pc.equal(field, name), False)
        mask = here.to_numpy(zero_copy_only=False)
        offsets = np.zeros(len(texts) + 1, dtype=np.int32)
        np.cumsum(np.bincount(row[mask], minlength=len(texts)), out=offsets[1:])
        columns[f"f{name}"] = pa.ListArray.from_arrays(pa.array(offsets), ids.filter(here))
    return pa.table(columns)


def _common(path: Path) -> Iterator[pa.Table]:
    for batch in read_blocks(path, COMMON):
        own = fields_of(batch["feature_list"], COMMON_FIELDS)
        yield append_columns(pa.table({"common_feature_index": batch["common_feature_index"]}), own)


def _filled(table: pa.Table) -> pa.Table:
    """Replace nulls by empty lists, for impressions whose index is not among the common features."""
    empty = pa.scalar([], LIST)
    return pa.table({name: pc.if_else(pc.is_valid(table[name]), table[name], empty) for name in table.column_names})
