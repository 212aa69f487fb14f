"""Files and nested values that were altered at random, from a seed."""

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
    """Any value that JSON can hold."""
    kinds = [WORDS, NUMBERS, BROKEN, [None, [], {}, [None], {"a": 1}, [[1]], {"name": "x", "kind": "binary"}]]
    if rng.random() < 0.05:
        return nested(rng.choice([30, 100, 200]))
    return copy.deepcopy(rng.choice(rng.choice(kinds)))


def nested(depth: int) -> Any:
    """A list in a list, many times."""
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


def tensor(rng: random.Random, like: Tensor) -> Any:
    """A tensor that has another shape, type or layout, or a number that is not finite."""
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
    """A copy with one place altered; the keys that lead there; and what is there now (None if it was removed)."""
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
    """Bytes that are cut off, flipped, doubled or overwritten."""
    found = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(max(len(found), 1))
        kind = rng.randrange(5)
        if kind == 0:
            del found[place:]
        elif kind == 1:
            del found[place : place + rng.randrange(1, 20)]
        elif kind == 2:
            found[place:place] = found[place : place + rng.randrange(1, 20)]
        elif kind == 3:
            found[place : place + 1] = bytes([rng.randrange(256)])
        elif found:
            place = min(place, len(found) - 1)
            found[place] ^= 1 << rng.randrange(8)
    return bytes(found)


def pickled(rng: random.Random, raw: bytes) -> bytes:
    """A checkpoint whose pickle is altered, with right checksums."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, cut(rng, content) if name.endswith("data.pkl") else content)
    return target.getvalue()


def broken(found: Any) -> bool:
    """True if a value, or a tensor, holds a number that is not finite."""
    if isinstance(found, Tensor):
        return found.is_floating_point() and not bool(torch.isfinite(found.to_dense()).all())
    return isinstance(found, float) and not math.isfinite(found)
