"""Processes that have opened or mapped files of the cache."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

PROCESSES = Path("/proc")


def users_of(paths: Iterable[Path]) -> dict[Path, list[int]]:
    """Other processes that have files open, or mapped into memory, at or below paths.

    A training maps its data without holding a lock. The processes are read from ``/proc``, so the result is empty on
    systems other than Linux, and lacks the processes of other users.

    Args:
        paths: Files and folders.

    Returns:
        Numbers of processes, by path; paths that no process uses are left out.

    Example:
        >>> users_of([Path("/nowhere")])
        {}
    """
    by_name = {os.path.realpath(path): path for path in paths}
    users: dict[Path, list[int]] = {}
    for folder in sorted(PROCESSES.glob("[0-9]*")) if by_name else []:
        if folder.name == str(os.getpid()):
            continue
        used = {by_name[name] for file in set(_open_files(folder)) for name in _ancestors(file) if name in by_name}
        for path in used:
            users.setdefault(path, []).append(int(folder.name))
    return {path: sorted(numbers) for path, numbers in users.items()}


def _ancestors(file: str) -> Iterator[str]:
    """A path and its parents."""
    while len(file) > 1:
        yield file
        file = os.path.dirname(file)  # noqa: PTH120 called for every file of every process


def _open_files(folder: Path) -> Iterator[str]:
    """Paths that a process has opened or mapped; none if it has ended, or belongs to another user."""
    try:
        with (folder / "maps").open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                parts = line.rstrip("\n").split(maxsplit=5)
                if len(parts) == 6 and parts[5].startswith("/"):
                    yield parts[5]
        for link in (folder / "fd").iterdir():
            try:
                yield str(link.readlink())
            except FileNotFoundError:  # closed meanwhile
                continue
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
