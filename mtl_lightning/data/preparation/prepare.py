"""Preparation of a source (split, fit, encode, store), once for all processes and later runs."""

import hashlib
import json
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from mtl_lightning.data.cache.code_digest import HERE, digest, encoding_code, file_of
from mtl_lightning.data.cache.directory import cache_directory, writing
from mtl_lightning.data.cache.locks import locked
from mtl_lightning.data.features.base import CachingTransform
from mtl_lightning.data.features.build import Feature
from mtl_lightning.data.preparation import growth
from mtl_lightning.data.preparation.column_checks import check_columns
from mtl_lightning.data.preparation.column_uses import column_uses, read_for, with_events
from mtl_lightning.data.preparation.encoding import encode
from mtl_lightning.data.preparation.event_logs import EventLog, event_logs
from mtl_lightning.data.preparation.fitting import fit
from mtl_lightning.data.preparation.histories import LATEST, open_events
from mtl_lightning.data.preparation.lookups import Lookup, LookupFiles, check_lookups, report_missing
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.preparation.requests import group_requests
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.preparation.split_reader import SplitReader
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.store.latest_events import open_latest
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError
from mtl_lightning.executors.base import Executor
from mtl_lightning.executors.threads import Threads
from mtl_lightning.interfaces import Source
from mtl_lightning.schema import Task

TRANSFORMS, SUMMARY = "transforms.json", "summary.json"
"""Files of prepared data, next to the folders of the splits."""

PARTIAL = ".partial"
"""Suffix of a directory that is being written."""

KEEP = 384 << 20
"""Largest number of bytes of rows that are kept for the second pass: half the cost of a small log is reading it."""


def prepare(
    source: Source,
    *,
    features: Mapping[str, Feature],
    tasks: Sequence[Task],
    split: SplitSpec,
    raw: Sequence[str] = (),
    group: str | None = None,
    cache_dir: Path | str | None = None,
    base: Transforms | None = None,
    accept: Collection[str] = (),
    lookups: Mapping[str, LookupFiles] = MappingProxyType({}),
    request: Sequence[str] = (),
    per_request: Sequence[str] | None = None,
    executor: Executor | None = None,
) -> Prepared:
    """Prepare the rows of a source, or open the result of an earlier call with the same rows, options and code.

    Two passes over the source in bounded memory fit the transforms to the training split and encode all rows. A log of
    at most :data:`KEEP` bytes is read once by threads. Other processes wait at a lock file until the data is complete.

    Args:
        source: Source of the rows.
        features: Model inputs, by name.
        tasks: Tasks, parents before children.
        split: How rows are divided.
        raw: Raw numeric columns to store with the rows; oracles of tasks are added.
        group: Column with the user, or None.
        cache_dir: Directory of prepared data; see :func:`cache_directory`.
        base: Fitted transforms of an earlier run to warm-start from; see :mod:`mtl_lightning.data.preparation.growth`.
        accept: Names of accepted findings. ``leak:<feature>:<task>`` lets a feature read a column of a label.
        lookups: Side tables by name, whose columns features read.
        request: Columns whose values are equal in the rows of a request; see
            :class:`~mtl_lightning.data.settings.DataConfig`.
        per_request: Features that are constant within a request; None for those that are in all rows.
        executor: What encodes the parts of the source; None for threads. The result does not depend on it.

    Raises:
        ConfigError: If ``base`` has other features or tasks.
        DataError: If rows cannot be read or used; the message names the column, and the split and row if known.

    Example:
        >>> import tempfile
        >>> from mtl_lightning.data.features.build import build_features
        >>> from mtl_lightning.data.readers.frames import Frame
        >>> rows = {"user": list("abcd") * 5, "click": [0, 1, 1, 0] * 5}
        >>> prepared = prepare(Frame(rows=rows), features=build_features({"user": "categorical"}),
        ...                    tasks=[Task(name="click", kind="binary", label="click")], split=SplitSpec(),
        ...                    cache_dir=tempfile.mkdtemp())
        >>> {name: len(store) for name, store in prepared.stores.items()}
        {'train': 16, 'validation': 2, 'test': 2}
    """
    uses = column_uses(features, tasks, split, group, raw, [*request, *(files.on for files in lookups.values())])
    tokens = read_for(source, uses, base)
    schema = source.schema()
    joined = [Lookup(name, files.on) for name, files in lookups.items()]
    transforms = Transforms(features, tasks, raw, group, split.cold, schema.columns, joined, request, per_request)
    for files in lookups.values():
        files.follow(with_events(uses, features))
    transforms.tokens = tokens
    check_columns(transforms, split, schema, accept)
    check_lookups(lookups, features, list(schema.columns))
    if base is not None:
        growth.begin(transforms, base)
    logs = event_logs(transforms.histories)
    path = Path(cache_dir or cache_directory()) / "prepared" / fingerprint(source, transforms, split, logs, lookups)
    for log in logs.values():
        log.check()
    with locked(path):
        prepared = open_prepared(path)
        if prepared is None:
            with executor or Threads() as running:
                keep = KEEP if running.shares_memory else 0
                reader = SplitReader(source, split, transforms.columns, keep, transforms.request)
                prepared = build(path, reader, transforms, logs, lookups, running)
        return prepared


def fingerprint(
    source: Source,
    transforms: Transforms,
    split: SplitSpec,
    logs: Mapping[str, EventLog],
    lookups: Mapping[str, LookupFiles],
) -> str:
    """Return a name that changes with the rows, the options and the code: 32 hexadecimal digits."""
    kind = type(source)
    inputs = {
        "source": [kind.__module__, kind.__qualname__, source.fingerprint()],
        "features": {name: describe(feature) for name, feature in transforms.features.items()},
        "tasks": [asdict(label.task) for label in transforms.labels.values()],
        "raw": transforms.raw,
        "group": transforms.group,
        "request": [transforms.request, transforms.per_request],
        "split": split.to_dict(),
        "code": digest(encoding_code()),
        "events": {name: log.fingerprint() for name, log in logs.items()},
        "lookups": {name: files.fingerprint() for name, files in lookups.items()},
    }
    if transforms.base is not None:
        inputs["base"] = transforms.base.to_dict()
        inputs["earlier"] = {name: latest.source for name, latest in transforms.base.latest.items()}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:32]


def describe(feature: Feature) -> list[str]:
    """Return everything that the values of a feature depend on: kind, options, fingerprint, and a plugin's code."""
    file = file_of(type(feature))
    return [feature.kind, repr(feature), feature.fingerprint(), "" if file.is_relative_to(HERE) else digest([file])]


def open_prepared(path: Path) -> Prepared | None:
    """Open prepared data; None if the path does not exist or is damaged."""
    try:
        transforms = Transforms.load(path / TRANSFORMS)
        summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
        events = open_events(path, transforms.histories)
        transforms.latest = open_latest(path / LATEST, list(transforms.histories))
        stores = {name: Store.open(path / name, transforms.schema, events) for name in summary["rows"]}
    except (DataError, OSError, ValueError):
        return None
    return Prepared(transforms, stores, {**summary, "cached": True}, path)


def build(
    path: Path,
    reader: SplitReader,
    transforms: Transforms,
    logs: Mapping[str, EventLog],
    lookups: Mapping[str, LookupFiles],
    executor: Executor,
) -> Prepared:
    """Prepare rows into a directory, which is renamed to ``path`` when it is complete."""
    started = time.monotonic()
    for leftover in path.parent.glob(f"{path.name}{PARTIAL}*"):  # of interrupted processes: this one has the lock
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)
    partial = path.with_name(path.name + PARTIAL)
    with writing(path):
        partial.mkdir()
    try:
        read = [column for name, feature in transforms.features.items() for column in feature.lookup_columns(name)]
        transforms.use_lookups({name: files.read(read) for name, files in lookups.items()})
        fit(reader, transforms, logs, executor)
        summary = encode(partial, reader, transforms, logs, executor)
        if transforms.request:
            summary["request"] = group_requests(partial, reader, transforms)
        if lookups:
            summary["lookups"] = report_missing(transforms.lookups.values())
        summary["seconds"] = round(time.monotonic() - started, 3)
        with writing(path):
            transforms.save(partial / TRANSFORMS)
            (partial / SUMMARY).write_text(json.dumps(summary, ensure_ascii=False), encoding="utf-8")
            partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    transforms.base = None
    for transform in transforms.transforms.values():
        if isinstance(transform, CachingTransform):
            transform.forget()
    events = open_events(path, transforms.histories)
    transforms.latest = open_latest(path / LATEST, list(transforms.histories))
    stores = {name: Store.open(path / name, transforms.schema, events) for name in summary["rows"]}
    return Prepared(transforms, stores, {**summary, "cached": False}, path)
