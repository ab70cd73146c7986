"""Write figures in the text format of Prometheus: counted from events, or measured when they are requested.

A label has few values, all of them our own: each name of a repository would create a series that never goes away.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from proxy.events import Accepted, Answered, Called, Event, Fetched, NotStored, Pulled, Retried, Stored, Unchanged

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4  # what every version of Prometheus reads
_PREFIX = "image_relay"
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)  # buckets of pushes, seals and pulls
_GAUGES = {
    "ready": "Can images be read from the store? 1 or 0",
    "spool_bytes": "Bytes of blobs on local disk, stored in artifacts already or not",
    "open_uploads": "Uploads in progress",
    "pending_manifests": "Manifests that are not in an artifact yet",
    "failed_manifests": "Manifests that could not be stored",
    "unreadable_artifacts": "Artifacts that could not be read",
    "session_expires_timestamp_seconds": "When the session of the job expires, in seconds since 1970",
}


@dataclass(frozen=True, slots=True)
class _Reading(Collector):
    """All figures at one moment; of those that were counted, without the time at which each series was created."""

    counted: CollectorRegistry
    info: Mapping[str, str]
    gauges: Mapping[str, float]

    def collect(self) -> Iterator[Metric]:
        """Yield all figures; a gauge that has no value is left out."""
        yield InfoMetricFamily(_PREFIX, "Which image-relay this is", value=dict(self.info))
        for name, text in _GAUGES.items():
            if name in self.gauges:
                yield GaugeMetricFamily(f"{_PREFIX}_{name}", text, value=self.gauges[name])
        for metric in self.counted.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class Metrics:
    """A handler of events that counts them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, namespace=_PREFIX, registry=self._registry)
        seconds = partial(Histogram, namespace=_PREFIX, registry=self._registry, buckets=_SECONDS)
        self._requests = counter(
            "requests", "Requests that are over; status 0 got no answer", ["method", "route", "status"]
        )
        self._of_kind = cache(self._requests.labels)  # which formats and locks
        self._received = counter("received_bytes", "Bytes of bodies that clients sent")
        self._sent = counter("sent_bytes", "Bytes of answers to clients")
        self._pushes = seconds("push_seconds", "From the first blob of a push until its manifest was accepted")
        self._pushed = counter("push_bytes", "Bytes of blobs that were sent for accepted manifests")
        self._seals = seconds("seal_seconds", "From an accepted manifest until its artifact was stored")
        self._sealed = counter("seal_bytes", "Bytes of archives that were stored", ["origin"])
        self._outcomes = counter("seals", "Pushes by what became of them", ["outcome"])
        self._pulls = seconds("pull_seconds", "From a manifest until the last of its blobs that was requested")
        self._pulled = counter("pull_bytes", "Bytes of manifests and blobs that were pulled")
        self._calls = Summary(
            "call_seconds",
            "Requests to the artifact service, to blob storage, to GitHub's API and to upstreams",
            ["service", "method", "outcome"],
            namespace=_PREFIX,
            registry=self._registry,
        )
        self._moved = counter("call_bytes", "Bytes of bodies of those requests", ["service", "direction"])
        self._retries = counter("retries", "Requests that were retried", ["service"])
        self._fetches = counter(
            "remote_blobs",
            "Requests for blobs of remote artifacts and of upstreams, by where the blobs were",
            ["result"],
        )

    def handle(self, event: Event) -> None:
        """Count what an event says."""
        match event:
            case Answered():
                method = event.method if event.method in _METHODS else "other"
                self._of_kind(method, event.route, event.status).inc()
                if event.received:
                    self._received.inc(event.received)
                if event.sent:
                    self._sent.inc(event.sent)
            case Called():
                self._calls.labels(event.service, event.method, event.outcome).observe(event.seconds)
                self._moved.labels(event.service, "sent").inc(event.sent)
                self._moved.labels(event.service, "received").inc(event.received)
            case Retried():
                self._retries.labels(event.service).inc()
            case Fetched():
                self._fetches.labels(event.result).inc()
            case _:
                self._handle_image(event)

    def _handle_image(self, event: Event) -> None:
        """Count what an event says about a push or a pull."""
        match event:
            case Accepted():
                self._pushes.observe(event.seconds)
                self._pushed.inc(event.received)
            case Stored():
                self._outcomes.labels("stored").inc()
                self._seals.observe(event.seconds)
                self._sealed.labels("new").inc(event.new)
                self._sealed.labels("reused").inc(event.reused)
            case Unchanged():
                self._outcomes.labels("unchanged").inc()
            case NotStored():
                self._outcomes.labels("failed").inc()
            case Pulled():
                self._pulls.observe(event.seconds)
                self._pulled.inc(event.size)
            case _:
                pass

    def text(self, info: Mapping[str, str], gauges: Mapping[str, float]) -> bytes:
        """Return all figures: what was counted, `info` about this relay, and what was measured just now."""
        return generate_latest(_Reading(self._registry, info, gauges))
