"""JSON lines in blocks of complete lines, with limits on length and nesting."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mtl_lightning.data.readers.files import MARK, File, open_file
from mtl_lightning.errors import DataError

BLOCK = 16 << 20
"""Number of bytes read at a time; the rest of the last line is added to them."""
LONGEST = 64 << 20
"""Number of bytes in the longest line."""
DEEPEST = 100
"""Deepest level of nesting; Arrow's parser crashes the process somewhere above 5,000."""
TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
"""A JSON string."""


class Lines(NamedTuple):
    """Complete lines of a file.

    Args:
        file: The file.
        data: The lines.
        first: Number of the first line.
    """

    file: File
    data: bytes
    first: int


def read_lines(file: File) -> Iterator[Lines]:
    """Read a file in blocks of complete lines; blocks of white space only are left out.

    Args:
        file: The file.

    Raises:
        DataError: If a line is longer than :data:`LONGEST` or nested more deeply than :data:`DEEPEST`; names the line.
    """
    first = 1
    with open_file(file) as stream:
        waiting: list[bytes] = []
        while data := stream.read(BLOCK):
            end = data.rfind(b"\n") + 1
            if not end:
                waiting.append(data)
                _check_length(file, sum(map(len, waiting)), first)
                continue
            lines = b"".join([*waiting, data[:end]])
            waiting = [data[end:]]
            if lines.strip():
                yield _checked(Lines(file, lines.removeprefix(MARK) if first == 1 else lines, first))
            first += lines.count(b"\n")
        lines = b"".join(waiting)
        if lines.strip():
            yield _checked(Lines(file, lines.removeprefix(MARK) if first == 1 else lines, first))


def _check_length(file: File, length: int, line: int) -> None:
    if length > LONGEST:
        raise DataError(f"{file.path}: line {line} is longer than {LONGEST >> 20} MiB", "one object per line is needed")


def _checked(lines: Lines) -> Lines:
    """Return the lines unless one is nested too deeply."""
    codes = np.frombuffer(lines.data, dtype=np.uint8)
    opening = (codes == ord("[")) | (codes == ord("{"))
    breaks = np.flatnonzero(codes == ord("\n"))
    starts = np.append(0, breaks + 1)
    starts = starts[starts < len(codes)]
    suspects = np.flatnonzero(np.add.reduceat(opening, starts, dtype=np.int64) > DEEPEST)
    for number in suspects.tolist():  # lines with many brackets; most are lists of structs
        start = int(starts[number])
        end = int(starts[number + 1]) if number + 1 < len(starts) else len(codes)
        if _depth(lines.data[start:end]) > DEEPEST:
            reason = f"{lines.file.path}: line {lines.first + number} is nested more than {DEEPEST} levels deep"
            raise DataError(reason, "flatten it")
    return lines


def _depth(line: bytes) -> int:
    """Deepest level of brackets outside of strings."""
    codes = np.frombuffer(TEXT.sub(b"", line), dtype=np.uint8)
    opening, closing = (codes == ord("[")) | (codes == ord("{")), (codes == ord("]")) | (codes == ord("}"))
    return int(np.cumsum(opening.astype(np.int64) - closing).max(initial=0))
