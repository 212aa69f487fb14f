"""The listening socket: bound at the start, and closed at the stop without losing a connection."""

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
"""Seconds for handshakes that have begun to end."""
LONGEST = 1.0
"""Seconds in which waiting connections must have been accepted."""
SO_ATTACH_FILTER = 26
NO_NEW_HANDSHAKE = (
    (0x30, 0, 0, 13),  # load the flags of the TCP header
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # a SYN alone opens a connection:
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # otherwise take the packet
)
"""A classic BPF program, as the kernel's ``sock_filter`` rows."""


def bound(host: str, port: int) -> socket.socket:
    """Bind a socket.

    Args:
        host: Address.
        port: Port.

    Raises:
        MtlError: If the address cannot be listened on.
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
    """Begin no handshake any more, and let the event loop accept every connection that has been established.

    The kernel completes handshakes on its own. Closing the socket resets connections that wait to be accepted, although
    their clients may have sent a request already.

    Args:
        listeners: Sockets that the event loop listens on.
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
    except (
        OSError
    ) as error:  # a sandbox may forbid it; a connection could then be reset between the last look and close
        LOG.debug("new connections are accepted until the socket is closed: %s", error)
