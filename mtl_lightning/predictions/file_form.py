"""How files to predict are written: as the run's own, unless the command or their suffix says otherwise."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from mtl_lightning.config import Config
from mtl_lightning.data.readers.csv_options import AUTOMATIC, default_quote, default_separator
from mtl_lightning.data.readers.files import find_files, format_of

CSV_FORM = ("separator", "names", "encoding", "quote", "escape", "missing", "decimal", "thousands")
"""Options of a table that say how its CSV files are written."""


def form_of(config: Config, data: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the source ``table`` for files to predict.

    A file whose suffix is unknown has the format, separator and quote of the run's own files; CSV files also have its
    encoding, its names and its spellings.

    Args:
        config: The run's configuration.
        data: Path or glob of the files.
        options: What the command says, which counts first.
    """
    if config.source.name != "table":
        return dict(options)
    own = config.source.options
    known = {format_of(file.path) for file in find_files([data])}
    form = dict(options)
    if "format" not in form and None in known:
        form |= _format_of_run(own)
    csv = form.get("format") == "csv" or ("format" not in form and known == {"csv"})
    given = {name: own[name] for name in CSV_FORM if name in own} if csv else {}
    return {**given, **form}


def _format_of_run(own: Mapping[str, Any]) -> dict[str, Any]:
    """Format of the run's own files, with the separator and the quote that their suffix stands for."""
    first = next(iter(_paths(own["path"])))
    kind = own.get("format") or format_of(first)
    if kind != "csv":
        return {"format": kind} if kind else {}
    separator = own.get("separator") or default_separator(first)
    quote = own.get("quote", AUTOMATIC)
    return {
        "format": kind,
        "separator": separator,
        "quote": default_quote(first, separator) if quote == AUTOMATIC else quote,
    }


def _paths(path: Any) -> Iterable[str]:
    """Paths in the option ``path``: one, a list, or a mapping from split to these."""
    values = path.values() if isinstance(path, Mapping) else [path]
    return chain.from_iterable([value] if isinstance(value, str) else value for value in values)
