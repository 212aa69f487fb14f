"""Connections to a Ray cluster."""

import logging
import os
import socket

import ray
from ray.exceptions import RayError

from mtl_lightning.errors import MtlError


def connect(address: str | None = None, *, log_to_driver: bool = False) -> bool:
    """Connect this process to a cluster, unless it is connected.

    Args:
        address: Address of the cluster; None for ``RAY_ADDRESS``, then the cluster that this machine is part of, then
            a new one on this machine.
        log_to_driver: Print what workers print.

    Returns:
        True if the process was not connected before, so that the caller disconnects it.

    Raises:
        MtlError: If there is no cluster at the address, or it runs another version of Ray.
    """
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        host, _, port = (address or "").rpartition(":")
        if port.isdecimal() and "//" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(address=address, log_to_driver=log_to_driver, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        where = f" at {address}" if address else ""
        reason = f"{error}".splitlines()[0]
        hint = "ray start --head starts one; RAY_ADDRESS is its address"
        raise MtlError(f"no Ray cluster can be reached{where}: {reason}", hint) from error
    return True
