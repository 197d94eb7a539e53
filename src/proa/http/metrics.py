"""What Prometheus may ask of a server: its requests, and numbers that it is told to watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class RequestMetrics:
    """The counters of one region; a registry of its own, so that two regions fit one process."""

    def __init__(self, region: str) -> None:
        self.registry = CollectorRegistry()
        self._region = region
        self._watched: list[tuple[Gauge, Callable[[], Mapping[str, int]]]] = []
        self._requests = Counter(
            "proa_requests",
            "Requests answered",
            ("region", "method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "proa_request_seconds",
            "Time to answer a request",
            ("region", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def count_answer(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. `route` is the pattern, not the path: few values."""
        self._requests.labels(self._region, method, route, str(status)).inc()
        self._seconds.labels(self._region, route).observe(seconds)

    def watch(self, name: str, what: str, count: Callable[[], Mapping[str, int]]) -> None:
        """Show a number for each state, counted whenever somebody looks."""
        gauge = Gauge(name, what, ("region", "state"), registry=self.registry)
        self._watched.append((gauge, count))

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        for gauge, count in self._watched:
            gauge.clear()
            for state, number in count().items():
                gauge.labels(self._region, state).set(number)
        return generate_latest(self.registry)
