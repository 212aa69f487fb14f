"""Limits of a service: sizes, times and numbers that clients cannot exceed."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on requests, connections and the stop.

    Args:
        max_body: Bytes of a body.
        max_rows: Candidates of a request.
        max_head: Bytes of a request line and its headers.
        max_headers: Number of headers of a request.
        max_connections: Open connections.
        head_seconds: Seconds for a request line and its headers to arrive.
        body_seconds: Seconds for a body to arrive.
        grace: Seconds that accepted requests may take after the service was asked to stop.
        workers: Requests that are worked on at once; 0 for the number of processors.
        reload_every: Seconds between looks at the export's folder; 0 for never.

    Raises:
        ValueError: If a limit is out of range.

    Example:
        >>> Limits(max_rows=100).max_rows
        100
    """

    max_body: int = 4 << 20
    max_rows: int = 2000
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
                    raise ValueError(f"{name} is {value}: 0 or more is needed")
            elif not value > 0:
                raise ValueError(f"{name} is {value}: above 0 is needed")
