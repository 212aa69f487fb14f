"""Limits of a service: sizes, times and numbers that clients cannot exceed."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on requests, connections and the stop.

    Args:
        max_body: Largest number of bytes of a body.
        max_rows: Largest number of candidates, or of events, of a request.
        max_users: Largest number of users whose events are appended to a history.
        max_head: Largest number of bytes of a request line with its headers.
        max_headers: Largest number of headers of a request.
        max_connections: Largest number of open connections.
        head_seconds: Seconds for a request line and its headers to arrive.
        body_seconds: Seconds for a body to arrive.
        grace: Seconds for accepted requests while the service stops.
        workers: Number of requests that are scored at the same time; 0 for the number of processors.
        reload_every: Seconds between checks for a new export; 0 for no checks.

    Raises:
        ValueError: If a limit is out of range.

    Example:
        >>> Limits(max_rows=100).max_rows
        100
    """

    max_body: int = 4 << 20
    max_rows: int = 2000
    max_users: int = 1_000_000
    max_head: int = 32 << 10
    max_headers: int = 100
    max_connections: int = 1000
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    grace: float = 30.0
    workers: int = 0
    reload_every: float = 2.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in ("grace", "workers", "reload_every"):
                if not value >= 0:
                    raise ValueError(f"{name} is {value}, and must be at least 0")
            elif not value > 0:
                raise ValueError(f"{name} is {value}, and must be above 0")
