"""Parquet files whose Arrow schema names views and dictionaries, at any depth."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtl_lightning.data.readers.parquet import ParquetRows

VIEW, CODES = pa.string_view(), pa.dictionary(pa.int32(), pa.string())
COLUMNS = {
    "view": (VIEW, "a"),
    "list": (pa.list_(VIEW), ["a"]),
    "large_list": (pa.large_list(VIEW), ["a"]),
    "fixed_size_list": (pa.list_(VIEW, 1), ["a"]),
    "list_of_lists": (pa.list_(pa.large_list(VIEW)), [["a"]]),
    "struct": (pa.struct([("a", VIEW), ("b", pa.list_(VIEW))]), {"a": "x", "b": ["y"]}),
    "map": (pa.map_(VIEW, VIEW), [("k", "v")]),
    "binary": (pa.large_list(pa.binary_view()), [b"x"]),
    "codes_in_list": (pa.list_(CODES), ["a"]),
    "codes_in_struct": (pa.struct([("a", CODES)]), {"a": "x"}),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_views_and_dictionaries_are_read_as_plain_values(tmp_path, name):
    kind, value = COLUMNS[name]
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"x": pa.array([value, None, value], kind)}), path)
    table = pa.concat_tables(ParquetRows([str(path)]).tables(["x"]))
    assert table.take([1, 2])["x"].to_pylist() == [None, value]  # Arrow takes no rows of views
