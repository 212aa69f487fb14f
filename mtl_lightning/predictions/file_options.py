"""Options of files to predict: the options of the run's own files, unless the command or the suffix says otherwise."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from mtl_lightning.config import Config
from mtl_lightning.data.readers.csv_options import AUTOMATIC, default_quote, default_separator
from mtl_lightning.data.readers.files import find_files, format_of

CSV_OPTIONS = ("separator", "names", "encoding", "quote", "escape", "missing", "decimal", "thousands")
"""Options of the source ``table`` for CSV files."""


def file_options(config: Config, data: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the source ``table`` for files to predict.

    Files with an unknown suffix get the format, separator and quote of the run's own files. CSV files also get their
    encoding, names and spellings.

    Args:
        config: Configuration of the run.
        data: Path or glob of the files.
        options: Options of the command, which take precedence.
    """
    if config.source.name != "table":
        return dict(options)
    own = config.source.options
    formats = {format_of(file.path) for file in find_files([data])}
    chosen = dict(options)
    if "format" not in chosen and None in formats:
        chosen |= _format_of_run(own)
    csv = chosen.get("format") == "csv" or ("format" not in chosen and formats == {"csv"})
    inherited = {name: own[name] for name in CSV_OPTIONS if name in own} if csv else {}
    return {**inherited, **chosen}


def _format_of_run(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the format of the run's own files, with the separator and the quote that their suffix implies."""
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
    """Return the paths in the option ``path``: a path, a list of paths, or a mapping from split to these."""
    values = path.values() if isinstance(path, Mapping) else [path]
    return chain.from_iterable([value] if isinstance(value, str) else value for value in values)
