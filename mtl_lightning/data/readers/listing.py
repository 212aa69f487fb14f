"""Local files by glob or folder, with limits: a pattern in a recipe must not list a whole machine."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mtl_lightning.errors import DataError

MAX_ENTRIES = 1_000_000
"""Largest number of directory entries that one pattern may visit."""
MAX_FILES = 100_000
"""Largest number of files that one pattern may match."""
DEEP = "**"
"""Part of a pattern that matches folders at any depth."""


def expand_user(path: str, option: str = "source.path") -> Path:
    """Replace ``~`` and ``~user`` at the beginning of a path.

    Args:
        path: The path.
        option: The setting with the path, for the error.

    Raises:
        DataError: If the user is unknown.

    Example:
        >>> expand_user("~nobody-of-this-name/x.csv")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: source.path: '~nobody-of-this-name/x.csv' begins with an unknown user ...
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{option}: {path!r} begins with an unknown user", "write ./~ for a name with ~") from error


def match_glob(pattern: str) -> list[str]:
    """Find the paths that match a glob, sorted: ``glob.glob(pattern, recursive=True)`` with limits.

    Two more things differ: a link to a folder that contains the link is not followed, and ``a/**`` does not match
    ``a``.

    Args:
        pattern: The glob.

    Raises:
        DataError: If more entries are visited, or more paths match, than the limits allow.
    """
    search = _Search(pattern)
    return sorted(set(search.paths()))


def list_below(folder: str) -> list[str]:
    """List the files below a folder, sorted, without names that begin with ``.`` or ``_``.

    Links to folders are not followed.

    Args:
        folder: The folder.

    Raises:
        DataError: If more entries are visited, or more files are there, than the limits allow.
    """
    search = _Search(folder)
    files = []
    waiting = [folder]
    while waiting:
        for entry in search.entries(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_file() and entry.name[0] not in "._":
                files.append(entry.path)
                search.count(len(files))
    return sorted(files)


@dataclass
class _Search:
    """A search that counts the entries that it visits."""

    pattern: str
    looked_at: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set)

    def entries(self, folder: str) -> list[os.DirEntry[str]]:
        """The entries of a folder; empty, as for a glob, if the path is not a folder or can't be read."""
        entries = []
        try:
            with os.scandir(folder or os.curdir) as names:
                for entry in names:
                    self.looked_at += 1
                    if self.looked_at > MAX_ENTRIES:
                        raise DataError(
                            f"source.path: {self.pattern!r} visits more than {MAX_ENTRIES:,} files and folders",
                            "begin the pattern with the folder of the log",
                        )
                    entries.append(entry)
        except OSError:
            return []
        return entries

    def count(self, files: int) -> None:
        """Raise a DataError if there are too many files."""
        if files > MAX_FILES:
            raise DataError(f"source.path: {self.pattern!r} matches more than {MAX_FILES:,} files", "name fewer files")

    def paths(self) -> Iterator[str]:
        """Paths that match; some are yielded twice."""
        parts = Path(self.pattern).parts
        anchor = Path(self.pattern).anchor
        waiting = [(anchor, 1 if anchor else 0)]
        files = 0
        while waiting:
            state = waiting.pop()
            if state in self.seen:
                continue
            self.seen.add(state)
            folder, place = state
            for path, following in self.step(folder, parts[place], place):
                if following < len(parts):
                    waiting.append((path, following))
                    continue
                files += 1
                self.count(files)
                yield path

    def step(self, folder: str, part: str, place: int) -> Iterator[tuple[str, int]]:
        """Paths that match one part of the pattern in a folder, with the number of the part to match next."""
        if part == DEEP:
            last = place == len(Path(self.pattern).parts) - 1
            if not last:
                yield folder, place + 1
            for entry in self.entries(folder):
                if entry.name.startswith("."):
                    continue
                path = os.path.join(folder, entry.name)  # noqa: PTH118 - a relative folder may be empty
                if entry.is_dir() and not _is_loop(entry):
                    yield path, place
                if last:
                    yield path, place + 1
        elif glob.has_magic(part):
            fits = re.compile(fnmatch.translate(part)).match
            for entry in self.entries(folder):
                if fits(entry.name) and (part.startswith(".") or not entry.name.startswith(".")):
                    yield os.path.join(folder, entry.name), place + 1  # noqa: PTH118
        else:
            path = os.path.join(folder, part)  # noqa: PTH118
            if os.path.lexists(path):
                yield path, place + 1


def _is_loop(entry: os.DirEntry[str]) -> bool:
    """True for a link to a folder that contains the link."""
    if not entry.is_symlink():
        return False
    target, own = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path) or os.curdir)  # noqa: PTH120
    return own == target or own.startswith(target.rstrip(os.sep) + os.sep)
