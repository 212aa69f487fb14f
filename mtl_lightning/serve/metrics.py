"""Metrics of a service, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Upper bounds of the buckets of seconds."""

ROWS = (1, 10, 50, 100, 200, 500, 1000, 2000, 5000)
"""Upper bounds of the buckets of candidates."""


class ServiceMetrics:
    """Metrics of a service, in a registry of their own.

    Example:
        >>> metrics = ServiceMetrics()
        >>> metrics.answered(200, 0.002, 100)
        >>> b'mtl_requests_total{status="200"} 1.0' in metrics.text()
        True
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("mtl_requests", "Requests by status.", ["status"], registry=self.registry)
        self._seconds = Histogram(
            "mtl_seconds", "Seconds of a scored request.", buckets=SECONDS, registry=self.registry
        )
        self._rows = Histogram("mtl_candidates", "Candidates of a request.", buckets=ROWS, registry=self.registry)
        self._events = Counter("mtl_events", "Events of answered requests.", registry=self.registry)
        self._reloads = Counter("mtl_reloads", "New exports by outcome.", ["outcome"], registry=self.registry)
        self._failed = Gauge(
            "mtl_reload_failed_seconds",
            "Unix time at which the newest export was refused; 0 if it is served.",
            registry=self.registry,
        )
        self._model = Gauge("mtl_model", "The export that is served.", ["recipe", "model"], registry=self.registry)
        ProcessCollector(registry=self.registry)

    def answered(self, status: int, seconds: float, rows: int = 0) -> None:
        """Count an answered request.

        Args:
            status: HTTP status.
            seconds: Seconds from the start of the request to its answer.
            rows: Number of candidates.
        """
        self._requests.labels(str(status)).inc()
        if status == 200:
            self._seconds.observe(seconds)
            self._rows.observe(rows)

    def appended(self, status: int, events: int) -> None:
        """Count a request with events.

        Args:
            status: HTTP status.
            events: Number of events.
        """
        self._requests.labels(str(status)).inc()
        self._events.inc(events)

    def refused(self, status: int) -> None:
        """Count a request that was refused before it reached the service."""
        self._requests.labels(str(status)).inc()

    def reloaded(self, taken: bool, failed_at: float = 0.0) -> None:
        """Count a new export.

        Args:
            taken: Whether it is served.
            failed_at: Unix time of the failure, in seconds; 0 if it is served.
        """
        self._reloads.labels("taken" if taken else "refused").inc()
        self._failed.set(failed_at)

    def serving(self, recipe: str, model: str) -> None:
        """Set the served export."""
        self._model.clear()
        self._model.labels(recipe, model).set(1)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
