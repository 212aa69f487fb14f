"""Listening socket, which is closed without the loss of a connection."""

import asyncio
import ctypes
import logging
import selectors
import socket
import struct
import sys
from collections.abc import Sequence

from mtl_lightning.errors import MtlError

LOG = logging.getLogger("mtl_lightning.serve")
SETTLE = 0.05
"""Seconds for the end of handshakes that have begun."""

LONGEST = 1.0
"""Seconds for waiting connections to be accepted."""

SO_ATTACH_FILTER = 26
"""Socket option of Linux that attaches a packet filter."""

NO_NEW_HANDSHAKE = (
    (0x30, 0, 0, 13),  # load the flags of the TCP header
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # a SYN alone opens a connection:
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # otherwise accept the packet
)
"""A classic BPF program: rows of the kernel's ``sock_filter``."""


def bind_socket(host: str, port: int) -> socket.socket:
    """Bind a listening socket.

    Args:
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        MtlError: If the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise MtlError(f"serve: can't listen on {host}: {error.strerror or error}", "set host=") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise MtlError(
            f"serve: can't listen on {host}:{port}: {error.strerror or error}", "set another port="
        ) from error
    return listener


async def drain(listeners: Sequence[socket.socket]) -> None:
    """Refuse new handshakes, and let the event loop accept all connections that are established.

    The kernel completes handshakes by itself. To close the socket would reset connections that wait to be accepted,
    although their clients may have sent a request already.

    Args:
        listeners: Listening sockets of the event loop.
    """
    for listener in listeners:
        _refuse_handshakes(listener)
    await asyncio.sleep(SETTLE)
    end = asyncio.get_running_loop().time() + LONGEST
    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            selector.register(listener, selectors.EVENT_READ)
        while selector.select(0) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.001)
    await asyncio.sleep(SETTLE)  # the protocols of accepted connections start in later iterations of the loop


def _refuse_handshakes(listener: socket.socket) -> None:
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in NO_NEW_HANDSHAKE))
    program = struct.pack("HL", len(NO_NEW_HANDSHAKE), ctypes.addressof(code))
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    except OSError as error:  # a sandbox may forbid it; a connection could then be reset when the socket is closed
        LOG.debug("new connections are accepted until the socket is closed: %s", error)
