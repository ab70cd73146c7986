"""The artifacts of GitHub's service: which names are taken, which records are seen. No I/O."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.fakes.actions.asked import Asked
from tests.fakes.actions.options import Options
from tests.fakes.actions.runs import Runs
from tests.fakes.actions.twirp_error import NAME_TAKEN, NOT_FOUND, TwirpError

_FIRST_ID = 5_000_000_001  # does not fit into 32 bits


@dataclass(slots=True, kw_only=True)
class Record:
    """One artifact, from its reservation on."""

    id: int
    run: str
    job: str
    name: str
    blob: str
    mime_type: str
    created_at: datetime
    expires_at: datetime
    size: int = 0
    digest: str | None = None
    finished: float | None = None  # monotonic seconds
    expired: bool = False


class Ledger:
    """Records by the order of their making."""

    def __init__(self, options: Options, runs: Runs) -> None:
        self._options = options
        self._runs = runs
        self._ids = itertools.count(_FIRST_ID)
        self.records: list[Record] = []

    def reserve(self, asked: Asked, blob: str, mime_type: str, expires_at: datetime) -> None:
        """Take a name, from now on and whatever becomes of the upload."""
        scope = self._runs.siblings(asked.run) if self._options.unique_across_attempts else {asked.run}
        if any(record.run in scope and self._same(record.name, asked.name) for record in self.records):
            raise TwirpError("already_exists", NAME_TAKEN)
        self._add(asked, blob, mime_type, expires_at)

    def _add(self, asked: Asked, blob: str, mime_type: str, expires_at: datetime) -> Record:
        record = Record(
            id=next(self._ids),
            run=asked.run,
            job=asked.job,
            name=asked.name,
            blob=blob,
            mime_type=mime_type,
            created_at=datetime.now(UTC),
            expires_at=expires_at,
        )
        self.records.append(record)
        return record

    def begun(self, asked: Asked) -> Record:
        """Return what a finalize is about: the newest record of that name and job."""
        for record in reversed(self.records):
            if self._is_of(record, asked):
                return record
        raise TwirpError("not_found", NOT_FOUND)

    def finish(self, record: Record, asked: Asked) -> Record:
        """Make an artifact visible. One that is visible already gets a twin: finalize is not idempotent."""
        if record.finished is not None:
            if not self._options.duplicate_on_finalize:
                return record
            record = self._add(asked, record.blob, record.mime_type, record.expires_at)
        if self._options.id_at_finalize:
            record.id = next(self._ids)
        if self._options.created_at_finalize:
            record.created_at = datetime.now(UTC)
        record.size, record.digest, record.finished = asked.size, asked.hash, time.monotonic()
        return record

    def seen_from(self, run: str) -> Iterator[Record]:
        """Yield the artifacts that a job of this attempt can see."""
        scope = self._runs.visible_from(run)
        return (record for record in self.finished() if record.run in scope and not record.expired)

    def finished(self) -> Iterator[Record]:
        """Yield everything that somebody may see."""
        return (record for record in self.records if record.finished is not None and self._old_enough(record.finished))

    def wanted(self, run: str, asked: Asked) -> Record:
        """Return the artifact with exactly these ids and this name; the newest if there are several."""
        for record in reversed(list(self.seen_from(run))):
            if self._is_of(record, asked):
                return record
        raise TwirpError("not_found", NOT_FOUND)

    def remove(self, run: str, asked: Asked) -> Record:
        """Forget an artifact, which frees its name."""
        try:
            record = self.wanted(run, asked)
        except TwirpError:
            if not self._options.delete_frees_unfinished:
                raise
            record = self.begun(asked)
        self.records.remove(record)
        return record

    def shared(self, record: Record) -> bool:
        """Return whether another record has the same blob."""
        return any(other.blob == record.blob for other in self.records if other is not record)

    def _is_of(self, record: Record, asked: Asked) -> bool:
        return (record.run, record.job, record.name) == (asked.run, asked.job, asked.name)

    def _same(self, one: str, other: str) -> bool:
        return one.casefold() == other.casefold() if self._options.ignore_case else one == other

    def _old_enough(self, finished: float) -> bool:
        return time.monotonic() >= finished + self._options.listed_after
