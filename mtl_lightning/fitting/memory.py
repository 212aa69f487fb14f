"""Memory that ran out: recognised in whatever raised it, and said in a sentence."""

import errno
from collections.abc import Iterator

WORDS = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "std::bad_alloc",
    "malloc of size",
    "unable to allocate",
    "can't start new thread",
    "memoryerror",
)
"""Words with which torch, Arrow, numpy and the system report it in errors of no type of their own, in lower case."""
REMEDY = (
    "take a smaller data.batch_size or data.eval_batch_size, a smaller encoder.width or hidden layers, smaller "
    "vocabularies (min_count, max_size, size of a feature), or more memory"
)


def exhausted(error: BaseException) -> str | None:
    """What to say of an error because memory ran out; None if it is about something else.

    Torch raises a RuntimeError, spawned processes an error that only holds the text of theirs.

    Example:
        >>> exhausted(RuntimeError("[alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 9 bytes"))
        "memory ran out: can't allocate memory: 9 bytes (take a smaller data.batch_size or ...)"
        >>> exhausted(ValueError("out of range")) is None
        True
    """
    for one in _chain(error):
        lines = [line for line in str(one).strip().splitlines() if any(word in line.lower() for word in WORDS)]
        system = isinstance(one, OSError) and one.errno == errno.ENOMEM
        if isinstance(one, MemoryError) or system or (isinstance(one, RuntimeError) and lines) or _in_child(one, lines):
            text = (lines or [str(one).strip().split("\n")[0]])[-1].rpartition("Allocator: ")[2][:200]
            return "memory ran out" + (f": {text}" if text else "") + f" ({REMEDY})"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was raised from."""
    found: BaseException | None = error
    for _ in range(10):
        if found is None:
            return
        yield found
        found = found.__cause__


def _in_child(error: BaseException, lines: list[str]) -> bool:
    return bool(lines) and type(error).__name__ == "ProcessRaisedException"
