"""What Prometheus is told at GET /metrics."""

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.answers import Answer
from app.batching import BatchDone


class Telemetry:
    """The metrics of one API process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "stillhouse_http_requests", "Requests by method, route and status code",
            ["method", "route", "code"], registry=self.registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "stillhouse_http_request_seconds", "From a request's first byte to the answer's last",
            ["method", "route"], registry=self.registry,
        )  # fmt: skip
        self.pictures = Counter("stillhouse_pictures", "Pictures answered", registry=self.registry)
        self.decode_seconds = Histogram(
            "stillhouse_decode_seconds", "Decoding the pictures of one request",
            registry=self.registry,
        )  # fmt: skip
        self.engine_seconds = Histogram(
            "stillhouse_engine_seconds", "The ensemble answering one batch",
            registry=self.registry,
        )  # fmt: skip
        self.batch_pictures = Histogram(
            "stillhouse_batch_pictures", "Pictures in one batch",
            buckets=[1, 2, 4, 8, 16, 32, 64, 128], registry=self.registry,
        )  # fmt: skip
        self.queue_seconds = Histogram(
            "stillhouse_queue_seconds", "Wait of a batch's first picture for the engine",
            registry=self.registry,
        )  # fmt: skip
        self.waiting_pictures = Gauge(
            "stillhouse_waiting_pictures", "Pictures waiting for the engine",
            registry=self.registry,
        )  # fmt: skip
        self.members_used = Histogram(
            "stillhouse_members_used", "Members asked about a picture", ["mode"],
            buckets=[1, 2, 3, 4, 5, 6, 8, 10, 15, 20], registry=self.registry,
        )  # fmt: skip
        self.degraded = Counter(
            "stillhouse_degraded_pictures", "Pictures answered by fewer members than asked for",
            registry=self.registry,
        )  # fmt: skip
        self.rejected = Counter(
            "stillhouse_rejected_requests", "Requests refused or given up for want of time",
            ["reason"], registry=self.registry,
        )  # fmt: skip
        self.connections = Gauge(
            "stillhouse_connections", "Connections that are open", registry=self.registry
        )
        self.refused_connections = Counter(
            "stillhouse_refused_connections", "Connections closed because too many were open",
            registry=self.registry,
        )  # fmt: skip
        self.followers = Gauge(
            "stillhouse_followers", "Clients that follow jobs", registry=self.registry
        )
        self.key_requests = Counter(
            "stillhouse_key_requests", "Requests by the name of their key", ["key"],
            registry=self.registry,
        )  # fmt: skip
        self.swaps = Gauge(
            "stillhouse_ensemble_swaps", "Ensembles loaded since the start", registry=self.registry
        )
        self.unfinished_jobs = Gauge(
            "stillhouse_unfinished_jobs", "Jobs queued or running", registry=self.registry
        )
        self.ensemble = Info(
            "stillhouse_serving_ensemble", "The ensemble that answers", registry=self.registry
        )

    def note_batch(self, batch: BatchDone) -> None:
        """Count a batch that the engine has done."""
        self.batch_pictures.observe(batch.items)
        self.queue_seconds.observe(batch.waited_seconds)
        self.engine_seconds.observe(batch.engine_seconds)

    def note_answers(self, mode: str, answers: Sequence[Answer]) -> None:
        """Count what a batch was answered with."""
        self.pictures.inc(len(answers))
        members_used = self.members_used.labels(mode)
        for answer in answers:
            members_used.observe(answer.members_used)
            self.degraded.inc(answer.degraded)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class CountRequests:
    """ASGI middleware that counts and times requests by the route that took them.

    Args:
        app: what it wraps.
        telemetry: where it counts.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        code = 0

        async def note_code(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_code)
        except BaseException:
            code = code or 500  # answered further out, after this has passed it on
            raise
        finally:
            # The route's pattern and not the path: ids would make a time series each.
            route = getattr(scope.get("route"), "path", "none")
            count, seconds = self._counters(scope["method"], route, code)
            count.inc()
            seconds.observe(time.perf_counter() - started)

    def _counters(self, method: str, route: str, code: int) -> tuple[Counter, Histogram]:
        key = (method, route, code)
        if key not in self._known:  # looking them up by their labels takes longer than counting
            count = self._telemetry.requests.labels(method, route, code or "none")
            self._known[key] = (count, self._telemetry.request_seconds.labels(method, route))
        return self._known[key]
