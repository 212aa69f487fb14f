"""Hashes of text columns, the same on every machine and in every run, vectorised over Arrow buffers."""

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.data.arrow.keys import integers, keys, text
from mtl_lightning.data.arrow.types import is_text


def mix(values: np.ndarray) -> np.ndarray:
    """Spread 64-bit values so that all bits depend on all bits (splitmix64's finaliser; Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


@functools.cache
def _coefficients(count: int, seed: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        odd: np.ndarray = mix(steps + mix(np.array([seed], dtype=np.uint64))) | np.uint64(1)
        return odd


def hash_text(values: pa.Array, seed: int = 0) -> np.ndarray:
    """64-bit hash per string, uint64; nulls hash like empty strings.

    Bytes are multiplied by pseudo-random odd numbers by position and summed (multilinear hashing), then mixed with the
    length.

    Example:
        >>> one, two, again = hash_text(pa.array(["user_1", "user_2", "user_1"]))
        >>> bool(one == again), bool(one == two)
        (True, False)
    """
    array = pc.cast(values, pa.large_string())
    count = len(array)
    if count == 0:
        return np.zeros(0, dtype=np.uint64)
    buffers = array.buffers()
    offsets = np.frombuffer(buffers[1], dtype=np.int64, count=count + array.offset + 1)[array.offset :]
    if buffers[2] is None or offsets[-1] == offsets[0]:
        data = np.zeros(0, dtype=np.uint8)
    else:
        data = np.frombuffer(buffers[2], dtype=np.uint8)[offsets[0] : offsets[-1]]
    starts = offsets[:-1] - offsets[0]
    lengths = np.diff(offsets)
    with np.errstate(over="ignore"):
        longest = 1 << max(5, int(lengths.max()).bit_length())
        position = np.arange(len(data)) - np.repeat(starts, lengths)
        terms = (data.astype(np.uint64) + np.uint64(1)) * _coefficients(longest, seed)[position]
        ends = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])
        sums = ends[starts + lengths] - ends[starts]
        return mix(sums + (lengths.astype(np.uint64) + np.uint64(2 * seed + 1)) * np.uint64(0x9E3779B97F4A7C15))


def hash_keys(values: pa.Array, name: str = "", seed: int = 0) -> np.ndarray:
    """64-bit hash per value of any type, uint64; what is one key (see :mod:`.keys`) has one hash.

    Each distinct value is hashed once.
    """
    coded = pc.dictionary_encode(keys(values, name))
    hashes = hash_text(text(coded.dictionary), seed)
    if not len(hashes):
        return np.zeros(len(values), dtype=np.uint64)
    taken: np.ndarray = hashes[coded.indices.fill_null(0).to_numpy()]
    return taken


def group_numbers(values: pa.Array, name: str) -> np.ndarray:
    """A number per group, int64: whole numbers themselves, other keys by hash."""
    found = keys(values, name)
    if not is_text(found.type):
        return np.asarray(found.fill_null(WITHOUT_GROUP).to_numpy())
    coded = pc.dictionary_encode(found)
    whole = integers(coded.dictionary)
    hashed = (hash_text(text(coded.dictionary)) >> np.uint64(1)).astype(np.int64)
    known = whole.is_valid().to_numpy(zero_copy_only=False)
    table = np.append(np.where(known, whole.fill_null(0).to_numpy(), hashed), WITHOUT_GROUP)
    result: np.ndarray = table[coded.indices.fill_null(len(table) - 1).to_numpy()]
    return result
