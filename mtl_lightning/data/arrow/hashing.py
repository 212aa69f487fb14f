"""Hashes of columns, equal on every machine and in every run, vectorised over Arrow buffers."""

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.data.arrow.keys import integers, keys, text
from mtl_lightning.data.arrow.types import is_text


def mix(values: np.ndarray) -> np.ndarray:
    """Mix the bits of 64-bit values, uint64 [N] → [N], so that every bit depends on every bit.

    Source: Finaliser of splitmix64; Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
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
    """Hash strings to 64 bits, [N] → uint64 [N]; nulls have the hash of empty strings.

    Each byte is multiplied by a pseudo-random odd number that depends on its position. The sum of these products
    (multilinear hashing) is mixed with the length.

    Args:
        values: Strings.
        seed: Seed of the pseudo-random numbers.

    Example:
        >>> first, second, third = hash_text(pa.array(["user_1", "user_2", "user_1"]))
        >>> bool(first == third), bool(first == second)
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
    """Hash values of any type to 64 bits, [N] → uint64 [N]; equal keys have equal hashes.

    Each distinct value is hashed once.

    Args:
        values: Values of any type that :func:`mtl_lightning.data.arrow.keys.keys` accepts.
        name: Name of the column, for messages.
        seed: Seed of the hash.

    Raises:
        DataError: If the column holds lists, structs or bytes that are not text.

    Example:
        >>> integer, printed = hash_keys(pa.array([7])), hash_keys(pa.array(["7.0"]))
        >>> bool(integer == printed)
        True
    """
    coded = pc.dictionary_encode(keys(values, name))
    hashes = hash_text(text(coded.dictionary), seed)
    if not len(hashes):
        return np.zeros(len(values), dtype=np.uint64)
    taken: np.ndarray = hashes[coded.indices.fill_null(0).to_numpy()]
    return taken


def group_numbers(values: pa.Array, name: str) -> np.ndarray:
    """Number the groups of rows, [N] → int64 [N]: whole numbers as they are, other keys by their hash.

    Args:
        values: Group of each row, in any type of key; rows without a group get ``WITHOUT_GROUP``.
        name: Name of the column, for messages.

    Raises:
        DataError: If the column holds lists, structs or bytes that are not text.

    Example:
        >>> group_numbers(pa.array(["5", "7"]), "user").tolist()
        [5, 7]
    """
    groups = keys(values, name)
    if not is_text(groups.type):
        return np.asarray(groups.fill_null(WITHOUT_GROUP).to_numpy())
    coded = pc.dictionary_encode(groups)
    whole = integers(coded.dictionary)
    hashed = (hash_text(text(coded.dictionary)) >> np.uint64(1)).astype(np.int64)
    known = whole.is_valid().to_numpy(zero_copy_only=False)
    table = np.append(np.where(known, whole.fill_null(0).to_numpy(), hashed), WITHOUT_GROUP)
    result: np.ndarray = table[coded.indices.fill_null(len(table) - 1).to_numpy()]
    return result
