"""JSON lines in blocks of whole lines, none of them too long or nested too deeply."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mtl_lightning.data.readers.files import File, opened
from mtl_lightning.errors import DataError

BLOCK = 16 << 20
"""Bytes that are read at a time, and the rest of their last line."""
LONGEST = 64 << 20
"""Bytes of the longest line."""
DEEPEST = 100
"""Levels of the most deeply nested value; Arrow's parser ends the process somewhere above 5,000."""
MARK = b"\xef\xbb\xbf"
"""What some programs write before UTF-8."""
TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Lines(NamedTuple):
    """Some whole lines of a file.

    Args:
        file: The file.
        data: Its lines.
        first: Number of the first one.
    """

    file: File
    data: bytes
    first: int


def read_lines(file: File) -> Iterator[Lines]:
    """A file in blocks of whole lines, those of white space left out.

    Raises:
        DataError: If a line is longer than :data:`LONGEST` or nested more deeply than :data:`DEEPEST`: with its number.
    """
    first = 1
    with opened(file) as stream:
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
    """The same lines, none of them nested too deeply."""
    codes = np.frombuffer(lines.data, dtype=np.uint8)
    opening = (codes == ord("[")) | (codes == ord("{"))
    breaks = np.flatnonzero(codes == ord("\n"))
    starts = np.append(0, breaks + 1)
    starts = starts[starts < len(codes)]
    suspects = np.flatnonzero(np.add.reduceat(opening, starts, dtype=np.int64) > DEEPEST)
    for number in suspects.tolist():  # lines with many brackets, most of which are lists of structs
        start = int(starts[number])
        end = int(starts[number + 1]) if number + 1 < len(starts) else len(codes)
        if _depth(lines.data[start:end]) > DEEPEST:
            reason = f"{lines.file.path}: line {lines.first + number} is nested more than {DEEPEST} levels deep"
            raise DataError(reason, "flatten it")
    return lines


def _depth(line: bytes) -> int:
    """Levels of brackets outside of text."""
    codes = np.frombuffer(TEXT.sub(b"", line), dtype=np.uint8)
    opening, closing = (codes == ord("[")) | (codes == ord("{")), (codes == ord("]")) | (codes == ord("}"))
    return int(np.cumsum(opening.astype(np.int64) - closing).max(initial=0))
