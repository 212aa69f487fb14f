"""Census-Income (KDD): census records with two labels, from the raw files."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.sources.delimited import Form, read_blocks
from mtl_lightning.data.sources.raw_log import RawLog, declare

COLUMNS = (
    "age", "class_worker", "det_ind_code", "det_occ_code", "education", "wage_per_hour", "hs_college", "marital_stat",
    "major_ind_code", "major_occ_code", "race", "hisp_origin", "sex", "union_member", "unemp_reason",
    "full_or_part_emp", "capital_gains", "capital_losses", "stock_dividends", "tax_filer_stat", "region_prev_res",
    "state_prev_res", "det_hh_fam_stat", "det_hh_summ", "instance_weight", "mig_chg_msa", "mig_chg_reg",
    "mig_move_reg", "mig_same", "mig_prev_sunbelt", "num_emp", "fam_under_18", "country_father", "country_mother",
    "country_self", "citizenship", "own_or_self", "vet_question", "vet_benefits", "weeks_worked", "year", "income_50k",
)  # fmt: skip
"""All columns of a line, in order."""
NUMBERS = (
    "age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "instance_weight", "num_emp",
    "weeks_worked",
)  # fmt: skip
NO_FEATURES = ("instance_weight", "income_50k", "marital_stat")
LABELS = ("high_income", "never_married")
FORM = Form(columns=dict.fromkeys(COLUMNS, pa.string()), header=False, quoted=False)


class CensusIncome(RawLog):
    """Source of 199,523 + 99,762 census records of 1994 and 1995: income above 50,000 dollars, never married.

    Values are separated by a comma and a blank; ``?`` is null. ``instance_weight`` is not a feature, and
    ``marital_stat`` holds the second label. A category of one file may be missing in the other.

    Args:
        path: Directory with ``census-income.data`` and ``census-income.test``, plain or gzipped.

    Raises:
        DataError: If a file is missing, or a line does not have 42 values.

    Example:
        >>> CensusIncome(path="census").schema().splits
        ('train', 'test')
    """

    name = "census_income"
    raw, arrow = declare(
        {
            name: (
                pa.float64() if name in NUMBERS else pa.string(),
                None if name in NO_FEATURES else "numeric" if name in NUMBERS else "categorical",
            )
            for name in COLUMNS
        }
        | dict.fromkeys(LABELS, (pa.int8(), None)),
        {name: {"kind": "binary", "label": name} for name in LABELS},
        splits=("train", "test"),
        after_event=(*LABELS, "income_50k", "marital_stat"),
    )

    def files(self) -> list[Path]:
        """The training and the test file."""
        return [self.find("census-income.data"), self.find("census-income.test")]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the records of a split, with labels from ``income_50k`` and ``marital_stat``."""
        for batch in read_blocks(self.files()[split == "test"], FORM):
            columns = {name: pc.utf8_trim_whitespace(batch[name]) for name in COLUMNS}
            columns["high_income"] = pc.starts_with(columns["income_50k"], "50000+")
            columns["never_married"] = pc.equal(columns["marital_stat"], "Never married")
            for name in COLUMNS:
                text = columns[name]
                columns[name] = pc.if_else(pc.equal(text, "?"), pa.scalar(None, pa.string()), text)
            yield pa.table(columns)
