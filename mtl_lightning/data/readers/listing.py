"""Local files by glob or folder, found within a limit: a pattern of a recipe must not list a whole machine."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mtl_lightning.errors import DataError

MAX_ENTRIES = 1_000_000
"""Most names in folders that are looked at for one pattern."""
MAX_FILES = 100_000
"""Most files that one pattern may match."""
DEEP = "**"


def expanded(path: str, option: str = "source.path") -> Path:
    """The path with ``~`` and ``~user`` replaced.

    Raises:
        DataError: If there is no such user.

    Example:
        >>> expanded("~nobody-of-this-name/x.csv")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: source.path: '~nobody-of-this-name/x.csv' begins with the name of no user ...
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{option}: {path!r} begins with the name of no user", "write ./~ for a name with ~") from error


def matching(pattern: str) -> list[str]:
    """Paths that match a glob, sorted: as ``glob.glob(pattern, recursive=True)`` finds them, within the limits.

    Two things differ: a link to a folder that contains the link is not followed, and ``a/**`` is not ``a`` itself.

    Raises:
        DataError: If more names are looked at, or more paths found, than the limits allow.
    """
    search = _Search(pattern)
    return sorted(set(search.paths()))


def below(folder: str) -> list[str]:
    """Files below a folder, sorted, links to folders not followed; names that begin with ``.`` or ``_`` are left out.

    Raises:
        DataError: As from :func:`matching`.
    """
    search = _Search(folder)
    found = []
    waiting = [folder]
    while waiting:
        for entry in search.entries(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_file() and entry.name[0] not in "._":
                found.append(entry.path)
                search.count(len(found))
    return sorted(found)


@dataclass
class _Search:
    """One search, which counts what it looks at."""

    pattern: str
    looked_at: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set)

    def entries(self, folder: str) -> list[os.DirEntry[str]]:
        """The names in a folder; none if it isn't one or can't be entered, as for a glob."""
        found = []
        try:
            with os.scandir(folder or os.curdir) as names:
                for entry in names:
                    self.looked_at += 1
                    if self.looked_at > MAX_ENTRIES:
                        raise DataError(
                            f"source.path: {self.pattern!r} looks at more than {MAX_ENTRIES:,} files and folders",
                            "begin the pattern in the folder of the log",
                        )
                    found.append(entry)
        except OSError:
            return []
        return found

    def count(self, files: int) -> None:
        """Refuse too many files."""
        if files > MAX_FILES:
            raise DataError(f"source.path: {self.pattern!r} matches more than {MAX_FILES:,} files", "name fewer files")

    def paths(self) -> Iterator[str]:
        """Paths that match; some twice."""
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
        """The paths that one part of the pattern leads to, each with the number of the part that follows."""
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
    """True for a link to a folder in which it lies itself."""
    if not entry.is_symlink():
        return False
    target, own = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path) or os.curdir)  # noqa: PTH120
    return own == target or own.startswith(target.rstrip(os.sep) + os.sep)
