"""Source → splits → fit on train → encode → Stores, once for all processes and all later runs."""

import hashlib
import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.cache.code_digest import HERE, digest, encoding_code, file_of
from mtl_lightning.data.cache.directory import cache_directory, writing
from mtl_lightning.data.cache.locks import locked
from mtl_lightning.data.features.base import Remembers
from mtl_lightning.data.features.build import Feature
from mtl_lightning.data.preparation import growth
from mtl_lightning.data.preparation.column_checks import check_columns
from mtl_lightning.data.preparation.column_uses import column_uses, read_for
from mtl_lightning.data.preparation.histories import Histories, HistoryBlock, encode_histories, open_events
from mtl_lightning.data.preparation.prepared import Prepared
from mtl_lightning.data.preparation.split import SPLITS, SplitSpec
from mtl_lightning.data.preparation.split_reader import Reader
from mtl_lightning.data.preparation.summary import Summary
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.blocks import ROW, ahead, even
from mtl_lightning.data.store.store import Store
from mtl_lightning.data.store.writer import StoreWriter
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import Source
from mtl_lightning.schema import Task

TRANSFORMS, SUMMARY = "transforms.json", "summary.json"
PARTIAL = ".partial"
KEEP = 384 << 20
"""Bytes of rows that the second pass needn't read again: reading is half of what preparing a small log costs."""


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
) -> Prepared:
    """Prepare a source's rows, or open what an earlier call has prepared from the same rows, options and code.

    Two passes over the source in bounded memory: one fits the transforms to the training split, one encodes all rows.
    A log of up to :data:`KEEP` bytes is read once.
    A lock file makes other processes wait; what they see is complete.

    Args:
        source: Where rows come from.
        features: Model inputs.
        tasks: What is predicted, parents before children.
        split: How rows are divided.
        raw: Raw numeric columns to carry along; oracles of tasks are added.
        group: Column with the user, or None.
        cache_dir: Where prepared data is kept; see :func:`cache_directory`.
        base: Fitted transforms of an earlier run, to go on from; see :mod:`mtl_lightning.data.preparation.growth`.
        accept: Names of findings that are meant: ``leak:<feature>:<task>`` lets a feature read what a label is made of.

    Raises:
        DataError: If rows can't be read or used; the message names column, split and row where there is one.

    Example:
        >>> import tempfile
        >>> from mtl_lightning.data.features.build import build_features
        >>> from mtl_lightning.data.readers.frames import Frame
        >>> rows = {"user": list("abcd") * 5, "click": [0, 1, 1, 0] * 5}
        >>> done = prepare(Frame(rows=rows), features=build_features({"user": "categorical"}),
        ...                tasks=[Task(name="click", kind="binary", label="click")], split=SplitSpec(),
        ...                cache_dir=tempfile.mkdtemp())
        >>> {name: len(store) for name, store in done.stores.items()}
        {'train': 16, 'validation': 2, 'test': 2}
    """
    uses = column_uses(features, tasks, split, group, raw)
    tokens = read_for(source, uses, base)
    schema = source.schema()
    transforms = Transforms(features, tasks, raw, group, split.cold, schema.columns)
    transforms.tokens = tokens
    check_columns(transforms, split, schema, accept)
    if base is not None:
        growth.begin(transforms, base)
    path = Path(cache_dir or cache_directory()) / "prepared" / fingerprint(source, transforms, split)
    with locked(path):
        found = opened(path)
        return build(path, Reader(source, split, transforms.columns, KEEP), transforms) if found is None else found


def fingerprint(source: Source, transforms: Transforms, split: SplitSpec) -> str:
    """A name that changes with the rows, with what is asked of them, and with the code that does it."""
    kind = type(source)
    asked = {
        "source": [kind.__module__, kind.__qualname__, source.fingerprint()],
        "features": {name: described(one) for name, one in transforms.features.items()},
        "tasks": [asdict(label.task) for label in transforms.labels.values()],
        "raw": transforms.raw,
        "group": transforms.group,
        "split": split.to_dict(),
        "code": digest(encoding_code()),
    }
    if transforms.base is not None:
        asked["base"] = transforms.base.to_dict()
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:32]


def described(feature: Feature) -> list[str]:
    """Kind, options, and what else the values depend on; the code of a plugin's kind, whose file is not ours."""
    file = file_of(type(feature))
    return [feature.kind, repr(feature), feature.fingerprint(), "" if file.is_relative_to(HERE) else digest([file])]


def opened(path: Path) -> Prepared | None:
    """What was prepared under a path, or None if there is nothing or it is damaged."""
    try:
        transforms = Transforms.load(path / TRANSFORMS)
        summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
        events = open_events(path, transforms.histories)
        stores = {name: Store.open(path / name, transforms.schema, events) for name in summary["rows"]}
    except (DataError, OSError, ValueError):
        return None
    return Prepared(transforms, stores, {**summary, "cached": True}, path)


def build(path: Path, reader: Reader, transforms: Transforms) -> Prepared:
    """Prepare into a directory that appears only when it is complete."""
    started = time.monotonic()
    for left in path.parent.glob(f"{path.name}{PARTIAL}*"):  # of processes that were killed: the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)
    partial = path.with_name(path.name + PARTIAL)
    with writing(path):
        partial.mkdir()
    try:
        fit(reader, transforms)
        summary = encode(partial, reader, transforms)
        summary["seconds"] = round(time.monotonic() - started, 3)
        with writing(path):
            transforms.save(partial / TRANSFORMS)
            (partial / SUMMARY).write_text(json.dumps(summary, ensure_ascii=False), encoding="utf-8")
            partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    transforms.base = None
    for one in transforms.transforms.values():
        if isinstance(one, Remembers):
            one.forget()
    events = open_events(path, transforms.histories)
    stores = {name: Store.open(path / name, transforms.schema, events) for name in summary["rows"]}
    return Prepared(transforms, stores, {**summary, "cached": False}, path)


def fit(reader: Reader, transforms: Transforms) -> None:
    """Fit to the training split, in one pass."""
    seen = 0
    for block in ahead(even(reader.train())):
        seen += block.num_rows
        with located(block):
            transforms.observe(block)
    if not seen:
        raise DataError("the training split has no rows", "look at split")
    transforms.finish()


@contextmanager
def located(block: pa.Table, assigned: np.ndarray | None = None) -> Iterator[None]:
    """Add split and row to errors; without ``assigned`` all rows are training rows.

    Errors of several columns become one, which lists them.
    """
    splits = np.zeros(block.num_rows, dtype=np.int8) if assigned is None else assigned
    try:
        yield
    except DataError as error:
        problems = [_placed(one, block, splits) for one in (error, *error.others)]
        if len(problems) == 1:
            raise problems[0] from error
        lines = [f"{len(problems)} problems in the rows", *(f"  {problem}" for problem in problems)]
        raise DataError("\n".join(lines)) from error


def _placed(error: DataError, block: pa.Table, splits: np.ndarray) -> DataError:
    if isinstance(error, RowError):
        row, split = block[ROW][error.index].as_py(), SPLITS[splits[error.index]]
        return DataError(f"{error.message} in row {row} (split {split})", error.hint)
    names = ", ".join(SPLITS[number] for number in np.unique(splits))
    return DataError(f"{error.message} (split {names})", error.hint)


def encode(path: Path, reader: Reader, transforms: Transforms) -> dict[str, Any]:
    """Write the Store of every split; returns the summary."""
    base = transforms.base
    summary = Summary(transforms.schema, None if base is None else growth.sizes(base.schema))
    with ExitStack() as stack:
        writers = {name: stack.enter_context(StoreWriter(path / name)) for name in SPLITS}
        histories = stack.enter_context(Histories(transforms.histories, path))
        empty = pa.table({})
        for block, assigned, parts, events in ahead(encoded(reader, transforms)):
            histories.add(events, assigned)
            for number, (split, writer) in enumerate(writers.items()):
                rows = np.flatnonzero(assigned == number)
                if len(rows):
                    whole = len(rows) == block.num_rows
                    mine = parts if whole else {name: part.take(rows, axis=0) for name, part in parts.items()}
                    writer.write(mine)
                    summary.add(split, mine)
            empty = block.slice(0, 0)
        for writer in writers.values():
            if not writer.rows:
                writer.write(encode_block(transforms, empty))
        histories.finish(list(writers.values()))
    return summary.to_dict()


def encoded(
    reader: Reader, transforms: Transforms
) -> Iterator[tuple[pa.Table, np.ndarray, dict[str, np.ndarray], dict[str, HistoryBlock]]]:
    """Blocks of all rows with the split of each, all parts of the Store, and users, times and events of histories."""
    for block, assigned in ahead(reader.all()):
        with located(block, assigned):
            parts, events = encode_block(transforms, block), encode_histories(transforms.histories, block)
        yield block, assigned, parts, events


def encode_block(transforms: Transforms, block: pa.Table) -> dict[str, np.ndarray]:
    """All parts of the Store for one block."""
    return transforms.encode_features(block) | transforms.encode_labels(block) | transforms.encode_raw(block)
