"""Reader of atomic files: tab-separated tables with the type of each column in the header (``user_id:token``)."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from mtl_lightning.data.sources.multivalued import as_list
from mtl_lightning.errors import DataError

TYPES = {
    "token": pa.string(),
    "float": pa.float64(),
    "token_seq": pa.list_(pa.string()),
    "float_seq": pa.list_(pa.float64()),
}
"""Arrow type by the type in the header."""


def read_atomic(path: Path) -> pa.Table:
    r"""Read an atomic file; empty values are null, lists are separated by spaces.

    Args:
        path: The file.

    Raises:
        DataError: If the type of a column is unknown, or a value does not fit it; names the file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ml.item"
        >>> _ = path.write_text("item_id:token\tyear:float\tclass:token_seq\n007\t1995\tCrime Drama\n8\t\t\n")
        >>> read_atomic(path).to_pylist()
        [{'item_id': '007', 'year': 1995.0, 'class': ['Crime', 'Drama']}, {'item_id': '8', 'year': None, 'class': []}]
    """
    parse = pcsv.ParseOptions(delimiter="\t", quote_char=False)
    try:
        with path.open("rb") as stream:
            titles = stream.readline().decode("utf-8").rstrip("\r\n").split("\t")
        text = pcsv.ConvertOptions(column_types=dict.fromkeys(titles, pa.string()), strings_can_be_null=False)
        table = pcsv.read_csv(path, parse_options=parse, convert_options=text)
        columns = {}
        for title, column in zip(titles, table.columns, strict=True):
            name, _, kind = title.partition(":")
            if kind not in TYPES:
                raise DataError(f"{path}: the header {title!r} has no known type", f"one of {', '.join(TYPES)}")
            columns[name] = _typed(column.combine_chunks(), TYPES[kind])
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from error
    return pa.table(columns)


def _typed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        return as_list(column, " ", kind.value_type)
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column).cast(kind)
