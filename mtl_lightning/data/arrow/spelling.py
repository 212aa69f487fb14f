"""Fast search for text that may differ from the spelling of its key, by three bytes of each value."""

import numpy as np
import pyarrow as pa

BLANKS = np.zeros(256, dtype=bool)
"""Mask of the bytes that are white space by themselves."""
BLANKS[[*range(0x09, 0x0E), *range(0x1C, 0x21)]] = True
LEADS = {0xC2: (0x85, 0xA0), 0xE1: (0x9A,), 0xE2: (0x80, 0x81), 0xE3: (0x80,)}
"""First bytes of white space of several bytes in UTF-8, with the possible second bytes."""
MIDDLES = (0x80, 0x81, 0x9A)
"""Second bytes of white space of three bytes."""
ENDS = np.zeros(256, dtype=bool)
"""Mask of the last bytes of white space of several bytes."""
ENDS[[*range(0x80, 0x8B), 0x9F, 0xA0, 0xA8, 0xA9, 0xAF]] = True
ZERO, POINT, MINUS = b"0.-"


def find_suspects(values: pa.Array) -> np.ndarray:
    """Find strings that may need another spelling, as positions, [N] → int64 [S].

    These are strings with white space at an end and strings that end like ``7.0`` or ``-0``. A few others are among
    them.

    Args:
        values: Strings with 32-bit offsets.

    Example:
        >>> find_suspects(pa.array(["a", " a", "7.0", "70", "-0", None, "a "])).tolist()
        [1, 2, 4, 6]
    """
    _, starts, content = values.buffers()
    if content is None or not len(values):
        return np.zeros(0, dtype=np.int64)
    offsets = np.frombuffer(starts, dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    data = np.frombuffer(content, dtype=np.uint8)
    if not len(data):
        return np.zeros(0, dtype=np.int64)
    first, last = (data.take(places, mode="clip") for places in (offsets[:-1], offsets[1:] - 1))
    before = data.take(offsets[1:] - 2, mode="clip")
    suspects = BLANKS[first] | BLANKS[last]
    suspects |= (last == ZERO) & ((before == POINT) | (before == ZERO) | (before == MINUS))
    if (last >= 0x80).any():
        suspects |= ENDS[last] & (np.isin(before, MIDDLES) | (before == 0xC2))
    if (first >= 0x80).any():
        second = data.take(offsets[:-1] + 1, mode="clip")
        for lead, followers in LEADS.items():
            suspects |= (first == lead) & np.isin(second, followers)
    places: np.ndarray = np.flatnonzero(suspects & (offsets[1:] > offsets[:-1]))
    return places
