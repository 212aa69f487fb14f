"""Exhausted memory: recognised in errors of any library, and reported in one sentence."""

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
"""Words of torch, Arrow, numpy and the system for it, in lower case; their errors have no type of their own."""
REMEDY = (
    "take a smaller data.batch_size or data.eval_batch_size, a smaller encoder.width or hidden layers, smaller "
    "vocabularies (min_count, max_size, size of a feature), or more memory"
)


def exhausted(error: BaseException) -> str | None:
    """Message for an error because memory ran out; None if the error has another reason.

    Torch raises a RuntimeError. The error of a spawned process contains only the text of the original error.

    Example:
        >>> exhausted(RuntimeError("[alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 9 bytes"))
        "memory ran out: can't allocate memory: 9 bytes (take a smaller data.batch_size or ...)"
        >>> exhausted(ValueError("out of range")) is None
        True
    """
    for link in _chain(error):
        lines = [line for line in str(link).strip().splitlines() if any(word in line.lower() for word in WORDS)]
        system = isinstance(link, OSError) and link.errno == errno.ENOMEM
        reported = isinstance(link, RuntimeError) and bool(lines)
        if isinstance(link, MemoryError) or system or reported or _in_child(link, lines):
            text = (lines or [str(link).strip().split("\n")[0]])[-1].rpartition("Allocator: ")[2][:200]
            return "memory ran out" + (f": {text}" if text else "") + f" ({REMEDY})"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was raised from."""
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return
        yield link
        link = link.__cause__


def _in_child(error: BaseException, lines: list[str]) -> bool:
    return bool(lines) and type(error).__name__ == "ProcessRaisedException"
