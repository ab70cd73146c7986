"""What was refused since the start, for whoever asks at the end of a job: each sentence once, with how often."""

from dataclasses import dataclass, field

_KEPT = 20  # different ones; the oldest go first


@dataclass(slots=True)
class Refusals:
    """Requests that were answered with an error, but not those that only ask whether something is there."""

    _times: dict[tuple[str, int, str], int] = field(default_factory=dict)

    def note(self, request: str, status: int, message: str) -> None:
        """Remember a refusal; both texts are harmless already."""
        refusal = (request, status, message)
        self._times[refusal] = self._times.pop(refusal, 0) + 1
        if len(self._times) > _KEPT:
            del self._times[next(iter(self._times))]

    def told(self) -> list[dict[str, str | int]]:
        """Give them for `/relay/health`, the latest last."""
        return [
            {"request": request, "status": status, "message": message, "times": times}
            for (request, status, message), times in self._times.items()
        ]
