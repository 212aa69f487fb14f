"""Source of rows in files: parquet, CSV or JSON lines by path, glob or URL."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mtl_lightning.data.arrow import number_text, numbers
from mtl_lightning.data.arrow.columns import WRITTEN, require
from mtl_lightning.data.arrow.number_text import NumberText
from mtl_lightning.data.cache.code_digest import digest
from mtl_lightning.data.cache.directory import cache_directory, writing
from mtl_lightning.data.cache.locks import locked
from mtl_lightning.data.readers import csv as csv_files
from mtl_lightning.data.readers import csv_blocks, csv_header, csv_options, csv_types, mixed_json, partitions, quotes
from mtl_lightning.data.readers import json_blocks as json_lines
from mtl_lightning.data.readers import json_lines as json_files
from mtl_lightning.data.readers import parquet as parquet_rows
from mtl_lightning.data.readers.csv_options import AUTOMATIC, CsvOptions, default_quote, default_separator
from mtl_lightning.data.readers.files import File, find_files, format_of
from mtl_lightning.data.readers.parquet import Footers, ParquetRows, read_footers
from mtl_lightning.data.readers.partitions import folder_columns
from mtl_lightning.data.readers.uses import Uses
from mtl_lightning.interfaces import DataError, RawSchema, Source

READERS = ("parquet", "csv", "json")
"""Names of the formats."""
CSV = (csv_blocks, csv_files, csv_header, csv_options, csv_types, number_text, numbers, quotes)
JSON = (json_files, json_lines, mixed_json)
CODE = [Path(str(module.__file__)) for module in (*CSV, *JSON, parquet_rows, partitions)]
"""Files with the code that reads tables; a change makes caches stale."""
ALL = ""
"""Key of the files of a table without splits."""


class Table(Source):
    """Source of a log in files; parquet is read in place, CSV and JSON lines are converted once, into the cache.

    Folders named like ``day=2024-05-01`` give a column ``day``, unless the files have a column of that name.

    Args:
        path: Path, glob, directory or fsspec URL, or several of them; or a mapping from split to these.
        format: ``parquet``, ``csv`` or ``json`` (one object per line); None to infer it from the file's suffix.
        separator: Character between values of CSV files; None for a tab in ``.tsv`` files, otherwise a comma.
        names: Names of the columns of CSV files without a header.
        encoding: Encoding of CSV files.
        quote: Character around values of CSV files; None if files have no quoted values. ``auto`` is the double quote,
            but None for ``.tsv`` and ``.dat`` files and if the separator is a tab or a control character.
        escape: Character of CSV files that makes the next one ordinary, such as a backslash.
        missing: Spellings of a missing value in CSV files, besides the empty value, ``NULL``, ``NaN`` and the like.
        decimal: Character before the decimals of numbers in CSV files.
        thousands: Character between groups of three digits in CSV files.
        text: Columns of CSV files that are always text. Otherwise the type depends on the use of a column: the versions
            1.10 and 1.1 are two categories, and equal numbers.
        time: Column that orders rows in time, for splits and reports.
        group: Column with the user, for splits and reports.
        after_event: Columns that are known only after the event: no feature may read them.

    Raises:
        DataError: If no file matches, or a file can't be read; names the file and, if known, the line.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "log.csv"
        >>> _ = path.write_text(chr(10).join(["user,zip,rating", "a,007,5", "b,123,"]))
        >>> Table(path=str(path)).schema().columns
        {'user': 'string', 'zip': 'string', 'rating': 'int64'}
    """

    def __init__(
        self,
        *,
        path: str | list[str] | dict[str, str | list[str]],
        format: str | None = None,  # noqa: A002 - the option's name in a recipe
        separator: str | None = None,
        names: list[str] | None = None,
        encoding: str = "utf-8",
        quote: str | None = AUTOMATIC,
        escape: str | None = None,
        missing: tuple[str, ...] | list[str] = (),
        decimal: str = ".",
        thousands: str | None = None,
        text: tuple[str, ...] | list[str] = (),
        time: str | None = None,
        group: str | None = None,
        after_event: tuple[str, ...] | list[str] = (),
    ) -> None:
        if format is not None and format not in READERS:
            raise DataError(f"source.format: {format!r} is unknown", f"one of {', '.join(READERS)}")
        if not path:
            raise DataError("source.path: no file is named", "a path, a glob or a list of them")
        if isinstance(path, Mapping):
            self.path: dict[str, list[str]] | list[str] = {name: _listed(paths) for name, paths in path.items()}
        else:
            self.path = _listed(path)
        self.format = format
        self.separator = separator
        self.csv = CsvOptions(
            separator="," if separator is None else separator,
            names=tuple(names) if names else None,
            encoding=encoding,
            quote=None if quote == AUTOMATIC else quote,
            escape=escape,
            missing=tuple(missing),
            numbers=NumberText(decimal, thousands),
        )
        self.quote = quote
        given = {"quote": quote != AUTOMATIC, "escape": escape is not None, "missing": bool(missing)}
        given |= {"decimal": decimal != ".", "thousands": thousands is not None}
        self.for_csv = [name for name, is_given in given.items() if is_given]
        self.text = tuple(text)
        self.time = time
        self.group = group
        self.after_event = tuple(after_event)
        self._uses = Uses()
        self._read: dict[str | None, Footers] = {}

    @cached_property
    def files(self) -> dict[str, list[File]]:
        """Files by split; one entry with an empty name for a table without splits."""
        patterns = self.path if isinstance(self.path, dict) else {ALL: self.path}
        return {name: find_files(listed) for name, listed in patterns.items()}

    def _format(self) -> str:
        kind = self.format or self._format_of_files()
        if kind != "csv" and self.for_csv:
            raise DataError(f"source.{self.for_csv[0]} is for CSV files, and these are {kind}", "remove the option")
        return kind

    def _format_of_files(self) -> str:
        paths = [file.path for files in self.files.values() for file in files]
        formats = {format_of(path): path for path in paths}
        if None in formats:
            hint = f"set it: {', '.join(READERS)}"
            if formats[None].endswith(".zip"):
                hint = f"name its content: zip://*.csv::{formats[None]}"
            raise DataError(f"source.format: {formats[None]} has no known suffix", hint)
        if len(formats) > 1:
            raise DataError(f"source.format: files of several formats: {', '.join(sorted(map(str, formats)))}")
        return str(next(iter(formats)))

    def fingerprint(self) -> str:
        """Digest of the options, the path, size and time of every file, and the code that reads them."""
        options = [self._format(), self.separator, self.quote, asdict(self.csv), self.text, digest(CODE)]
        stamps = {name: [(file.path, file.stamp) for file in files] for name, files in self.files.items()}
        return hashlib.sha256(json.dumps([options, stamps], sort_keys=True).encode()).hexdigest()

    @cached_property
    def _parquet(self) -> dict[str, list[str]]:
        """Parquet files by split; files of other formats are converted first."""
        kind = self._format()
        if kind == "parquet":
            return {name: [file.path for file in files] for name, files in self.files.items()}
        kinds = self._kinds() if kind == "csv" else {}
        planned = csv_types.plan_columns(kinds, self._uses) if csv_types.find_retyped(kinds, self._uses) else []
        # Tokens keep decimal and thousands characters.
        as_written = self._uses.tokens | self._uses.lists if self.csv.numbers != NumberText() else ()
        state = f"{self.fingerprint()} {planned} {sorted(as_written)}"
        key = hashlib.sha256(state.encode()).hexdigest() if planned or as_written else self.fingerprint()
        directory = cache_directory() / "tables" / key[:32]
        with locked(directory):
            if not _is_complete(directory, sum(map(len, self.files.values()))):
                shutil.rmtree(directory, ignore_errors=True)
                partial = directory.with_name(directory.name + ".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                try:
                    with writing(directory):
                        self._convert(kinds, partial)
                        partial.replace(directory)
                except BaseException:
                    shutil.rmtree(partial, ignore_errors=True)
                    raise
        converted = iter(sorted(directory.glob("*.parquet")))
        return {name: [str(next(converted)) for _ in files] for name, files in self.files.items()}

    def _all_files(self) -> list[File]:
        return [file for files in self.files.values() for file in files]

    def _csv_options(self) -> CsvOptions:
        path = self._all_files()[0].path
        separator = self.separator or default_separator(path)
        quote = default_quote(path, separator) if self.quote == AUTOMATIC else self.quote
        return replace(self.csv, separator=separator, quote=quote, text=self.text)

    def _kinds(self) -> dict[str, str]:
        """Kinds of the columns of CSV files, inferred once and stored in the cache."""
        path = cache_directory() / "kinds" / f"{self.fingerprint()[:32]}.json"
        with locked(path):
            try:
                return dict(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                kinds = csv_files.infer(self._all_files(), self._csv_options())
            partial = path.with_name(path.name + ".partial")
            with writing(path):
                partial.write_text(json.dumps(kinds), encoding="utf-8")
                partial.replace(path)
        return kinds

    def _convert(self, kinds: dict[str, str], directory: Path) -> None:
        if kinds:
            csv_files.convert(self._all_files(), self._csv_options(), directory, kinds, self._uses)
        else:
            json_files.convert(self._all_files(), directory)

    def as_text(self, columns: Iterable[str]) -> None:
        """Read further columns of CSV files as text.

        Args:
            columns: Names of the columns.
        """
        self.text = tuple(sorted({*self.text, *columns}))
        self._forget()

    def follow(self, uses: Uses) -> None:
        """Give columns of CSV files the types that their uses need.

        Args:
            uses: Uses of the columns.
        """
        if uses != self._uses:
            self._uses = uses
            self._forget()

    def _forget(self) -> None:
        self.__dict__.pop("_parquet", None)
        self._read.clear()

    def schema(self) -> RawSchema:
        """Columns and splits, read from the footers of the parquet files; incomplete files raise a DataError."""
        fields = self._footers(None).schema
        columns = {field.name: str(field.type) for field in fields if not field.name.startswith(WRITTEN)}
        require(list(columns), self.after_event, "source.after_event")
        return RawSchema(
            columns=columns,
            splits=tuple(name for name in self.files if name != ALL),
            time=self.time,
            group=self.group,
            after_event=self.after_event,
        )

    def _paths(self, split: str | None) -> list[str]:
        parts = [self._parquet[split]] if split is not None else list(self._parquet.values())
        return [path for part in parts for path in part]

    def _folders(self, split: str | None) -> list[dict[str, Any]]:
        """Columns in the names of the folders of a split's files; their types fit all files."""
        paths = [(name, file.path) for name, files in self.files.items() for file in files]
        columns = folder_columns([path for _, path in paths])
        return [values for (name, _), values in zip(paths, columns, strict=True) if split in (None, name)]

    def _footers(self, split: str | None) -> Footers:
        if split not in self._read:
            self._read[split] = read_footers(self._paths(split), self._folders(split))
        return self._read[split]

    def rows(self, split: str | None = None) -> ParquetRows:
        """The rows of a split, or of all splits if ``split`` is None; read from disk block by block."""
        if split is not None and split not in self.files:
            known = ", ".join(name for name in self.files if name != ALL)
            raise DataError(f"table has no split {split!r}", f"it has {known}" if known else "let the recipe split it")
        return ParquetRows(self._paths(split), known=self._footers(split))


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Let errors of a table that is not the source name its own options: ``data.lookup.items.path``.

    Args:
        place: Place of the options in the recipe.

    Raises:
        DataError: In place of a ``DataError`` about an option of ``source``.
    """
    try:
        yield
    except DataError as error:
        if not error.message.startswith("source."):
            raise
        raise DataError(f"{place}.{error.message.removeprefix('source.')}", error.hint) from error


def _is_complete(directory: Path, count: int) -> bool:
    """True if a directory holds ``count`` parquet files, all of them complete."""
    files = list(directory.glob("*.parquet"))
    try:
        return len(files) == count and all(pq.read_metadata(file) is not None for file in files)
    except (OSError, pa.ArrowException):
        return False


def _listed(path: str | list[str]) -> list[str]:
    return [path] if isinstance(path, str) else list(path)
