"""Requests to the service that are malformed in many ways, from a seed."""

import json
import random
from typing import Any

from random_changes import nested

WORDS = ["", "a", "é", "𝄞", "\u0000", "NaN", "-1", "1e999", "null", "../..", "' or 1=1", "{{7*7}}", "%s%n", "x" * 5000]
NUMBERS = [0, -1, 1.5, 1e300, -1e-300, 2**31, 2**63, 2**64, -(2**70), 10**400, True, False]


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = rng.randrange(7 if depth < 4 else 4)
    if kind == 0:
        return rng.choice(WORDS)
    if kind in (1, 2):
        return rng.choice(NUMBERS)
    if kind == 3:
        return None
    if kind == 4:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 5:
        return {rng.choice(WORDS): value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return nested(rng.choice([10, 200, 900]))


def body(rng: random.Random, good: dict[str, Any]) -> bytes:
    """A body that is wrong, nearly always; what is not must still be answered."""
    message = json.loads(json.dumps(good))
    candidates = message["candidates"]
    kind = rng.randrange(12)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        message[rng.choice(["context", "candidates", "model", ""])] = value(rng)
    elif kind == 2:
        candidates[rng.randrange(len(candidates))] = value(rng)
    elif kind == 3:
        row = rng.choice(candidates)
        row[rng.choice(list(row))] = value(rng)
    elif kind == 4:
        name = rng.choice(list(candidates[0]))
        for row in candidates:
            row[name] = value(rng)
    elif kind == 5:
        del rng.choice(candidates)[rng.choice(list(candidates[0]))]
    elif kind == 6:
        message["context"][rng.choice(list(message["context"]))] = value(rng)
    elif kind == 7:
        message["context"].pop(rng.choice(list(message["context"])))
    elif kind == 8:
        message["candidates"] = {name: value(rng) for name in candidates[0]}
    elif kind == 9:
        message["candidates"] = candidates * rng.choice([0, 1000])
    elif kind == 10:
        return b"[" * rng.randrange(10_000)
    text = json.dumps(message).encode()
    if kind == 11:
        raw = bytearray(text)
        for _ in range(rng.randrange(1, 5)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        return bytes(raw[: rng.randrange(len(raw))] if rng.random() < 0.5 else raw)
    return text


def raw(rng: random.Random) -> bytes:
    """Bytes that are hardly HTTP."""
    start = rng.choice(
        [b"", b"GET / HTTP/1.1\r\n", b"POST /score HTTP/1.1\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n"]
    )
    header = rng.choice(
        [b"Host: x\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1e3\r\n", b"A" * 100_000, b": \r\n"]
    )
    return start + header + rng.choice([b"\r\n", b"", rng.randbytes(50)])
