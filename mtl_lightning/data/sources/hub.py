"""Source of data sets on the Hugging Face hub, and of directories in the same form."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.exceptions import DatasetsError

from mtl_lightning.data.arrow.columns import require
from mtl_lightning.data.cache.directory import cache_directory
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.interfaces import RawSchema, Source

FAILURES = (DatasetsError, pa.ArrowException, OSError, ValueError, RuntimeError)
"""Errors of the library for a set that is missing, can't be reached or can't be read."""


class Hub(Source):
    r"""Source of a data set on the Hugging Face hub, or of a local directory with data files, read by ``datasets``.

    A set on the hub is downloaded when its schema or rows are first needed, into the library's own cache (``HF_HOME``).
    Environment variables of the library (``HF_TOKEN``, ``HF_HUB_OFFLINE``) are respected. The library refuses sets with
    a loading script: no code of a data set runs.

    Args:
        id: ``owner/name``, or the path of a directory.
        config: Name of one of the set's configurations; None for its default.
        revision: Branch, tag or commit on the hub; None for the newest.
        files: Data files within the set: a pattern, several, or a mapping from split to these; None for the set's own
            declaration.
        splits: Splits to use; None for all.
        streaming: Read rows from their origin at every pass, instead of copying the set to disk first.
        time: Column that orders rows in time, for splits and reports.
        group: Column with the user, for splits and reports.
        after_event: Columns that are known only after the event: no feature may read them.

    Raises:
        DataError: If the set, a configuration or a split is missing, or files can't be reached or read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> directory = Path(tempfile.mkdtemp())
        >>> _ = (directory / "train.csv").write_text("user,click\nann,1\nbob,0\n")
        >>> log = Hub(id=str(directory), streaming=True)
        >>> log.schema().splits, list(log.rows("train"))[1]
        (('train',), {'user': 'bob', 'click': 0})
    """

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - the option's name in a recipe
        config: str | None = None,
        revision: str | None = None,
        files: str | list[str] | dict[str, str | list[str]] | None = None,
        splits: list[str] | None = None,
        streaming: bool = False,
        time: str | None = None,
        group: str | None = None,
        after_event: tuple[str, ...] | list[str] = (),
    ) -> None:
        self.id = id
        self.config = config
        self.revision = revision
        self.files = files
        self.splits = splits
        self.streaming = streaming
        self.time = time
        self.group = group
        self.after_event = tuple(after_event)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Context manager that turns errors of the library into errors of this source."""
        try:
            yield
        except FAILURES as error:
            cause = error.__cause__ or error
            lines = str(cause).strip().splitlines() or [type(cause).__name__]
            hint = "a directory here, or owner/name on the hub; HF_TOKEN for a private one"
            raise DataError(f"source.id: {self.id!r} can't be read: {lines[0]}", hint) from error

    def _options(self) -> dict[str, Any]:
        return {"path": self.id, "name": self.config, "revision": self.revision, "data_files": self.files}

    def _load(self, *, streaming: bool) -> dict[str, Any]:
        with self._named():
            # For a directory whose README names configurations, the library would reuse a stale copy.
            own = not streaming and Path(self.id).is_dir()
            place = str(cache_directory() / "hub" / self._files()) if own else None
            available = datasets.load_dataset(**self._options(), streaming=streaming, cache_dir=place)
        selected = list(available) if self.splits is None else self.splits
        for name in selected:
            if name not in available:
                hint = did_you_mean(name, available) or f"it has {', '.join(available)}"
                raise DataError(f"source.splits: {self.id!r} has no split {name!r}", hint)
        return {name: available[name] for name in selected}

    @cached_property
    def _streams(self) -> dict[str, Any]:
        return self._load(streaming=True)

    @cached_property
    def _sets(self) -> dict[str, Any]:
        return self._streams if self.streaming else self._load(streaming=False)

    @cached_property
    def _raw(self) -> RawSchema:
        columns: dict[str, str] = {}
        for rows in self._streams.values():
            with self._named():
                known = rows if rows.features is not None else rows._resolve_features()
            columns |= {field.name: str(field.type) for field in known.features.arrow_schema}
        require(list(columns), self.after_event, "source.after_event")
        splits = tuple(self._streams)
        return RawSchema(columns=columns, splits=splits, time=self.time, group=self.group, after_event=self.after_event)

    def schema(self) -> RawSchema:
        """Columns and splits, from the set's declaration or its first rows; rows are not copied."""
        return self._raw

    def rows(self, split: str | None = None) -> "datasets.Dataset | datasets.IterableDataset":
        """The rows of a split, or of all splits one after the other if ``split`` is None."""
        if split is not None and split not in self._streams:
            raise DataError(f"{self.id!r} has no split {split!r}", f"it has {', '.join(self._streams)}")
        parts = [self._sets[split]] if split is not None else list(self._sets.values())
        with self._named():
            return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)

    def fingerprint(self) -> str:
        """Digest of the options, and of the revision or the sizes and times of the files."""
        return hashlib.sha256(json.dumps([self._files(), self.splits, sorted(self._streams)]).encode()).hexdigest()[:32]

    def _files(self) -> str:
        """Digest of the set, its configuration and its files."""
        with self._named():
            builder = datasets.load_dataset_builder(**self._options())
        files = builder.config.data_files or {}
        stamps = {str(split): [list(paths), getattr(paths, "origin_metadata", None)] for split, paths in files.items()}
        state = [builder.hash, builder.config_id, self.files, stamps]
        return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def __getstate__(self) -> dict[str, Any]:
        # A process that gets a copy opens the set again.
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
