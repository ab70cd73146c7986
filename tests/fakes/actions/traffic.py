"""What came and what went, by kind of request. Neither tokens nor signed URLs are kept."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Fault

_KEPT = 20_000  # requests; enough for the longest test, and not a leak in an emulator that runs for days


@dataclass(slots=True)
class Seen:
    """One request."""

    kind: str
    range: str | None = None
    fault: Fault | None = None  # what it met, as planned
    status: int = 0  # 0 while it is under way, and when it was cut
    received: int = 0
    sent: int = 0
    traffic: "Traffic | None" = field(default=None, repr=False)

    def took(self, count: int) -> None:
        """Note bytes of the request's body."""
        self.received += count
        if self.traffic:
            self.traffic.received[self.kind] += count

    def gives(self, count: int) -> None:
        """Note bytes of the response's body, before they leave: who has them shall find them counted."""
        self.sent += count
        if self.traffic:
            self.traffic.sent[self.kind] += count

    def answers(self, status: int) -> None:
        """Note the status, before it leaves and only once."""
        if not self.status and self.traffic:
            self.traffic.answers[self.kind, status] += 1
        self.status = status


class Traffic:
    """Counters that only grow until `reset`."""

    def __init__(self) -> None:
        self.under_way: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Count from zero; what is under way is still seen as under way."""
        self.calls: Counter[str] = Counter()
        self.answers: Counter[tuple[str, int]] = Counter()
        self.received: Counter[str] = Counter()  # bytes of request bodies of blob requests
        self.sent: Counter[str] = Counter()  # bytes of response bodies of blob requests
        self.peak: Counter[str] = Counter(self.under_way)
        self.seen: deque[Seen] = deque(maxlen=_KEPT)

    @property
    def results_calls(self) -> int:
        """How often the results service was called."""
        return self.total(*kinds.RESULTS)

    @property
    def blob_requests(self) -> int:
        """How often blob storage was called."""
        return self.total(*kinds.BLOBS)

    def total(self, *wanted: str) -> int:
        """Return how many requests of these kinds came."""
        return sum(self.calls[kind] for kind in wanted)

    @contextmanager
    def serving(self, kind: str, range_header: str | None) -> Iterator[Seen]:
        """Count a request as long as it is under way; whoever serves it fills in the rest."""
        seen = Seen(kind, range_header, traffic=self)
        self.seen.append(seen)
        self.calls[kind] += 1
        self.under_way[kind] += 1
        self.peak[kind] = max(self.peak[kind], self.under_way[kind])
        try:
            yield seen
        finally:
            self.under_way[kind] -= 1
