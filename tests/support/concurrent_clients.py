"""Many concurrent clients that send requests until the service is gone, and counts of the answers."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

HEAD = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def request(content: Any) -> bytes:
    """A whole request for ``/score``."""
    body = json.dumps(content).encode()
    return HEAD % len(body) + body


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """Status of an answer that arrived whole, and whether the connection stays open; ``lost`` for a cut one."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
    except (asyncio.IncompleteReadError, ConnectionError):
        return "lost", False
    return head.split()[1].decode(), b"\r\nconnection: close" not in head


async def _client(port: int, question: bytes, keep: bool, seen: Counter[str]) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            seen["refused"] += 1  # the service has stopped: this request was never accepted
            return
        open_ = True
        while open_:
            writer.write(question)
            status, open_ = await _answer(reader)
            seen[status] += 1
            open_ = open_ and keep
        writer.close()


async def _clients(port: int, question: bytes, count: int, keep: bool) -> Counter[str]:
    seen: Counter[str] = Counter()
    await asyncio.gather(*(_client(port, question, keep, seen) for _ in range(count)))
    return seen


def ask_until_refused(port: int, question: bytes, count: int, *, keep: bool) -> Counter[str]:
    """Let clients ask, each its next request when it has an answer, until connections are refused.

    Args:
        port: Where the service listens.
        question: See :func:`request`.
        count: Number of clients.
        keep: Whether a client keeps its connection, or opens one per request.

    Returns:
        Requests by status; ``lost`` for those that were sent on an open connection and not answered.
    """
    return asyncio.run(_clients(port, question, count, keep))


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep some processors busy with processes that spin."""
    started = [get_context("spawn").Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in started:
        process.start()
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.join()
