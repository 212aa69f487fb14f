"""Random changes of files, nested values and tensors, from a seed."""

import copy
import io
import math
import random
import zipfile
from typing import Any

import torch
from torch import Tensor

WORDS = ["", "x", "os.system", "\ud800", "\x1b[31m", "../secret", "categorical", "None", "a" * 5000]
NUMBERS = [0, -1, 1, 2, 0.5, -0.5, 1e300, -1e300, 2**31, 2**63, -(2**70), 10**400, True, False]
BROKEN = [math.nan, math.inf, -math.inf]


def value(rng: random.Random) -> Any:
    """A random JSON value."""
    kinds = [WORDS, NUMBERS, BROKEN, [None, [], {}, [None], {"a": 1}, [[1]], {"name": "x", "kind": "binary"}]]
    if rng.random() < 0.05:
        return nested(rng.choice([30, 100, 200]))
    return copy.deepcopy(rng.choice(rng.choice(kinds)))


def nested(depth: int) -> Any:
    """Lists nested to a depth."""
    content: Any = 1
    for _ in range(depth):
        content = [content]
    return content


def tensor(rng: random.Random, like: Tensor) -> Any:
    """A tensor with another shape, type or layout, or with a value that is not finite."""
    kind = rng.randrange(7)
    if kind < 2 and like.is_floating_point() and like.numel():
        broken = like.clone()
        broken.view(-1)[rng.randrange(like.numel())] = rng.choice(BROKEN)
        return broken
    if kind == 2:
        return like[..., None]
    if kind == 3:
        return like.reshape(-1)[:-1].clone() if like.numel() else torch.zeros(3)
    if kind == 4:
        return like.bool()
    if kind == 5:
        return torch.zeros(1).expand(10**9)
    return like.to_sparse() if like.ndim else torch.zeros(2).to_sparse()


def tree(rng: random.Random, content: Any) -> tuple[Any, list[Any], Any]:
    """A copy with one changed value, the keys that lead to it, and the new value (None if it was removed)."""
    content = copy.deepcopy(content)
    holder, path = content, []
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = rng.choice(keys)
        path.append(key)
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.25:
            break
        holder = inner
    kind = rng.randrange(6)
    if kind == 0:
        del holder[key]
        return content, path, None
    if kind == 1 and isinstance(holder, dict):
        holder[rng.choice([*WORDS, 7, "name"])] = value(rng)
        return content, path[:-1], None
    if kind == 2 and isinstance(holder, list):
        holder.append(copy.deepcopy(inner))
        return content, path[:-1], None
    holder[key] = tensor(rng, inner) if isinstance(inner, Tensor) and kind < 5 else value(rng)
    return content, path, holder[key]


def cut(rng: random.Random, raw: bytes) -> bytes:
    """Bytes with parts cut off, flipped, doubled or overwritten."""
    content = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(max(len(content), 1))
        kind = rng.randrange(5)
        if kind == 0:
            del content[place:]
        elif kind == 1:
            del content[place : place + rng.randrange(1, 20)]
        elif kind == 2:
            content[place:place] = content[place : place + rng.randrange(1, 20)]
        elif kind == 3:
            content[place : place + 1] = bytes([rng.randrange(256)])
        elif content:
            place = min(place, len(content) - 1)
            content[place] ^= 1 << rng.randrange(8)
    return bytes(content)


def pickled(rng: random.Random, raw: bytes) -> bytes:
    """A checkpoint whose pickle is changed, with correct checksums."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, cut(rng, content) if name.endswith("data.pkl") else content)
    return target.getvalue()


def broken(value: Any) -> bool:
    """True if a number, or a value of a tensor, is not finite."""
    if isinstance(value, Tensor):
        return value.is_floating_point() and not bool(torch.isfinite(value.to_dense()).all())
    return isinstance(value, float) and not math.isfinite(value)
