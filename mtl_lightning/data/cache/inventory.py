"""Entries of the cache: what this package has written, how large it is, and removal of what no process uses."""

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import filelock

from mtl_lightning.data.cache.processes import users_of

DIGEST = "[0-9a-f]{32}"
PARTIAL = r"(?:\.partial(?:-\d+)?)?"
"""Optional suffix of an entry, or of a file in it, that was not completed."""
ARROW = r"\d{5}\.arrow"


@dataclass(frozen=True)
class Layout:
    """Paths that this package writes for a kind of entry; a path that fits no layout is never removed.

    Args:
        about: Description for users.
        entry: Pattern of an entry's path below the folder of its kind.
        files: Pattern of the files in an entry, relative to it; None if the entry is a file itself.
        depth: Number of folders between the folder of the kind and its entries.
        locks: Whether ``<entry>.lock`` is the lock of an entry. Otherwise its locks are in it.
    """

    about: str
    entry: str
    files: str | None
    depth: int = 0
    locks: bool = True


LAYOUTS: Mapping[str, Layout] = {
    "prepared": Layout(
        "encoded rows, prepared again when needed",
        f"{DIGEST}{PARTIAL}",
        rf"(?:summary|transforms|quality)\.json{PARTIAL}|lookup-\w+\.arrow{PARTIAL}|\w+{PARTIAL}/(?:store\.json|\w+(?:-[0-9a-f]+)?\.bin)",
    ),
    "tables": Layout("CSV and JSON files as Parquet", f"{DIGEST}{PARTIAL}", r"\d+\.parquet"),
    "kinds": Layout("types of columns of CSV files", rf"{DIGEST}\.json{PARTIAL}", None),
    "logs": Layout(
        "public logs as Arrow",
        rf"[\w-]+/{DIGEST}/(?:[\w-]+{PARTIAL}|\.partial-\w+)",
        rf"(?:files/)?{ARROW}",
        depth=2,
    ),
    "simulator": Layout("generated rows", rf"(?:{DIGEST}{PARTIAL}|\.partial-\w+)", rf"(?:files/)?{ARROW}"),
    "hub": Layout("copies of local Hugging Face data sets", f"{DIGEST}{PARTIAL}", r".+", locks=False),
    "fetched": Layout(
        "downloaded data sets, fetched again when needed",
        rf"(?:[\w.-]+-[\w.]+-[0-9a-f]{{8}}-[0-9a-f]{{8}}{PARTIAL}|\.partial-\w+)",
        r"[^/]+|(?:members|wheel)/[^/]+",
    ),
}
"""Layouts by the name of their folder in the cache."""


@dataclass(frozen=True)
class Entry:
    """A path in the cache that can be removed as a whole.

    Args:
        kind: Key of :data:`LAYOUTS`.
        path: The folder or file.
        bytes: Size of its files.
        modified: Time of the last change, in seconds since the epoch.
    """

    kind: str
    path: Path
    bytes: int
    modified: float


def entries(cache: Path) -> tuple[list[Entry], list[Path]]:
    """List the entries of a cache.

    Symbolic links are not followed, and an entry that contains a link or an unknown file is not one of this package.

    Args:
        cache: Directory of the cache; need not exist.

    Returns:
        The entries, and the other paths in the cache, which this package has not written. Lock files are in neither
        list.

    Example:
        >>> import tempfile
        >>> cache = Path(tempfile.mkdtemp())
        >>> (cache / "kinds").mkdir()
        >>> for name in (f"kinds/{32 * 'a'}.json", "notes.txt"):
        ...     _ = (cache / name).write_text("text")
        >>> own, others = entries(cache)
        >>> [(entry.kind, entry.bytes) for entry in own], [path.name for path in others]
        ([('kinds', 4)], ['notes.txt'])
    """
    own: list[Entry] = []
    others: list[Path] = []
    for folder in sorted(cache.iterdir()) if cache.is_dir() else []:
        if folder.name in LAYOUTS and _is_folder(folder):
            _collect(folder.name, folder, folder, own, others)
        else:
            others.append(folder)
    return own, others


def _collect(kind: str, folder: Path, root: Path, own: list[Entry], others: list[Path]) -> None:
    """Add what is in a folder of a kind."""
    layout = LAYOUTS[kind]
    for path in sorted(folder.iterdir()):
        relative = path.relative_to(root)
        if re.fullmatch(layout.entry, relative.as_posix()):
            entry = _measure(kind, path)
            others.append(path) if entry is None else own.append(entry)
        elif _is_folder(path) and len(relative.parts) <= layout.depth:
            _collect(kind, path, root, own, others)
        elif not _is_lock(path):
            others.append(path)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_lock(path: Path) -> bool:
    """True for an empty regular file whose name ends in ``.lock``."""
    status = path.lstat()
    return path.suffix == ".lock" and stat.S_ISREG(status.st_mode) and not status.st_size


def _measure(kind: str, path: Path) -> Entry | None:
    """Size and time of an entry; None if it contains anything that this package does not write."""
    layout = LAYOUTS[kind]
    if _is_folder(path) == (layout.files is None):
        return None
    size, modified = 0, path.lstat().st_mtime
    for file in [path] if layout.files is None else path.rglob("*"):
        status = file.lstat()
        if stat.S_ISDIR(status.st_mode):
            continue
        name = file.relative_to(path).as_posix()
        if not stat.S_ISREG(status.st_mode) or (layout.files is not None and not re.fullmatch(layout.files, name)):
            return None
        size, modified = size + status.st_size, max(modified, status.st_mtime)
    return Entry(kind, path, size, modified)


def in_use(entry: Entry, users: Mapping[Path, Sequence[int]]) -> str:
    """Reason why an entry must not be removed now; empty if it can be removed.

    Args:
        entry: The entry.
        users: Processes by the path of an entry that they have opened, from :func:`users_of`.
    """
    with ExitStack() as stack:
        return _lock(entry, users, [file for file in _locks_of(entry) if file.exists()], stack)


def remove(entry: Entry) -> str:
    """Remove an entry unless a process uses it, holding its locks meanwhile.

    Args:
        entry: The entry.

    Returns:
        The reason why it was kept; empty if it was removed.

    Raises:
        OSError: If it can't be removed.
    """
    with ExitStack() as stack:
        if reason := _lock(entry, users_of([entry.path]), list(_locks_of(entry)), stack):
            return reason
        if _measure(entry.kind, entry.path) is None:
            return "has changed"
        if not entry.path.is_dir():
            entry.path.unlink()
            return ""
        # It disappears at once for processes that look for it, and an interrupted removal leaves an incomplete entry.
        removed = entry.path
        if ".partial" not in removed.name:
            removed = removed.replace(removed.with_name(f"{removed.name}.partial-{os.getpid()}"))
        shutil.rmtree(removed)
        return ""


def _lock(entry: Entry, users: Mapping[Path, Sequence[int]], files: Sequence[Path], stack: ExitStack) -> str:
    """Hold lock files within ``stack``; returns the reason if the entry is in use."""
    if processes := users.get(entry.path):
        return f"in use by process {', '.join(map(str, processes))}"
    for file in files:
        file.touch()  # raises an error if no lock can be created, which acquire would report as a timeout
        try:
            stack.enter_context(filelock.FileLock(file, timeout=0))
        except filelock.Timeout:
            return f"in use: a process holds {file.name}"
    return ""


def _locks_of(entry: Entry) -> Iterator[Path]:
    """Locks of the processes that write an entry."""
    name = re.sub(r"\.partial(?:-\w+)?$", "", entry.path.name)
    if not LAYOUTS[entry.kind].locks:
        yield from sorted(entry.path.rglob("*.lock"))
    elif name:
        yield entry.path.with_name(f"{name}.lock")
    else:  # a temporary folder, which belongs to any of the entries next to it
        yield from sorted(path for path in entry.path.parent.glob("*.lock") if path.is_file())
