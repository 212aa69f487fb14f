"""Cheap search for text that may be spelled otherwise than its key: it looks at three bytes of each value."""

import numpy as np
import pyarrow as pa

BLANKS = np.zeros(256, dtype=bool)
"""Bytes that are white space by themselves."""
BLANKS[[*range(0x09, 0x0E), *range(0x1C, 0x21)]] = True
LEADS = {0xC2: (0x85, 0xA0), 0xE1: (0x9A,), 0xE2: (0x80, 0x81), 0xE3: (0x80,)}
"""First bytes of longer white space in UTF-8, with the second ones."""
MIDDLES = (0x80, 0x81, 0x9A)
"""Last bytes but one of white space of three bytes."""
ENDS = np.zeros(256, dtype=bool)
"""Last bytes of longer white space."""
ENDS[[*range(0x80, 0x8B), 0x9F, 0xA0, 0xA8, 0xA9, 0xAF]] = True
ZERO, POINT, MINUS = b"0.-"


def suspicious(values: pa.Array) -> np.ndarray:
    """Places of strings with white space at an end, and of those that end like ``7.0`` or ``-0``; a few others, too.

    Example:
        >>> suspicious(pa.array(["a", " a", "7.0", "70", "-0", None, "a "])).tolist()
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
    found = BLANKS[first] | BLANKS[last]
    found |= (last == ZERO) & ((before == POINT) | (before == ZERO) | (before == MINUS))
    if (last >= 0x80).any():
        found |= ENDS[last] & (np.isin(before, MIDDLES) | (before == 0xC2))
    if (first >= 0x80).any():
        second = data.take(offsets[:-1] + 1, mode="clip")
        for lead, followers in LEADS.items():
            found |= (first == lead) & np.isin(second, followers)
    places: np.ndarray = np.flatnonzero(found & (offsets[1:] > offsets[:-1]))
    return places
