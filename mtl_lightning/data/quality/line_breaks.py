"""Text with line breaks, which a quote that was opened by mistake leaves."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.data.quality.findings import Finding


def count_line_breaks(values: pa.Array) -> tuple[int, int]:
    r"""Return the number of values with line breaks, and the most line breaks of a value; zeros unless it is text.

    Example:
        >>> count_line_breaks(pa.array(["a", "b\nc", "d\ne\nf", None]))
        (2, 2)
    """
    if not is_text(values.type) or not pc.any(pc.match_substring(values, "\n")).as_py():
        return 0, 0
    breaks = pc.count_substring(values, "\n")
    return int(pc.sum(pc.greater(breaks, 0)).as_py()), int(pc.max(breaks).as_py())


def line_break_findings(columns: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield a warning for each column of text with line breaks."""
    for name, facts in columns.items():
        count, most = facts["line_breaks"]
        if count:
            values = "1 value" if count == 1 else f"{count:,} values"
            yield Finding(
                level="warning",
                name=f"line_breaks:{name}",
                reason=f"{values} of {name!r} with line breaks, up to {most + 1:,} lines long",
                hint="if they are not texts, a quote is an ordinary character: source.quote=null",
            )
