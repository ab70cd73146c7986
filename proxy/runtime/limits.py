"""The bounds of one relay, in one value: parts take it as an argument, and tests make one with shorter times."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Policy:
    """How often a caller tries; waits in seconds."""

    attempts: int = 9
    first: float = 1.0
    factor: float = 2.0
    longest: float = 20.0

    def backoff(self, chance: random.Random) -> Iterator[float]:
        """Yield the waits between the attempts: growing, with ±25 % jitter, so that jobs do not retry in lockstep."""
        wait = self.first
        for _ in range(self.attempts - 1):
            yield wait * chance.uniform(0.75, 1.25)
            wait = min(wait * self.factor, self.longest)


CALLS = Policy()  # of the results service
BLOBS = replace(CALLS, first=0.5)  # of blob storage
UPSTREAMS = Policy(attempts=4, first=0.5, longest=4.0)  # of other registries: clients can ask those themselves


@dataclass(frozen=True, slots=True)
class Rereading:
    """How an artifact is read again that came with other bytes than it has to have.

    First by this policy, while whoever asks for it waits; then, for `rest` seconds, not at all.
    """

    policy: Policy = Policy(attempts=4, longest=4.0)
    rest: float = 15.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How patient and how hasty requests to the artifact service are; limits in seconds."""

    calls: Policy = CALLS
    blobs: Policy = BLOBS
    rereading: Rereading = Rereading()
    patience: float = 55.0  # over all tries of one thing, or since bytes last moved; clients are told within a minute
    rest: float = 5.0  # for which reads are refused at once after that, but for one that tries once
    connect: float = 10.0
    call: float = 20.0
    finalize: float = 300.0  # large blobs take minutes
    commit: float = 300.0
    finishing: float = 10 * 1024 * 1024.0  # bytes per second that a server finishes at least
    transfer: float = 25.0  # of one range at once; what takes longer is read in parts, as long as they come
    stall: float = 20.0  # without a byte
    answer: float = 20.0  # until a block is answered that was sent; as many more to finish nothing
    looks: tuple[float, ...] = (0.0, 2.0, 4.0, 8.0, 15.0, 21.0)  # pauses before listings, while a name is another's
    shows: float = 10.0  # until what was finished is listed
    passed: float = 10.0  # until whoever was passed over has noticed, or is listed
    again: tuple[float, float] = (1.0, 3.0)  # from and to; before a push that collided begins again

    def finishing_times(self, most: float, size: int) -> tuple[float, float]:
        """Return how long one try to finish so many bytes may take, at most `most`, and how long all tries together."""
        working = size / self.finishing
        return min(most, self.answer + working), self.patience + working


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes, counts."""

    # Requests
    first_answer: float = 25.0  # until a waiting request is told to come again
    between_runs: float = 20.0  # seconds for requests under way when the relay is handed over to another run
    session_check: float = 100.0  # for which the artifact service may check a session that is handed over
    session_poll: float = 1.0  # between two looks at the clock: has the session ended?
    body_stall: float = 300.0  # without a byte of a body, in either direction, after which a request fails
    reader_pause: float = 0.02  # until the piece of a client that takes nothing is released
    remote_pause: float = 0.5  # the same where another request to the storage has to fetch it again
    sender_turn: float = 0.5  # until an upload whose client pauses, or is slow while others wait, makes room for them
    progress_poll: float = 1.0  # between two lines about a tarball that is being stored
    result_kept: float = 60.0  # for which a result that no client has received is kept

    # The artifact service and its storage
    service: Timeouts = Timeouts()

    # Catalog
    listing_fresh: float = 2.0  # for which one listing is good
    listing_late: float = 30.0  # after which the store is asked for what was stored here and is not listed
    index_pieces: int = 200_000  # pieces in the indexes that are kept of a remote store: some 40 MiB of memory
    replaced_kept: float = 60.0  # without a request after which a replaced archive is closed
    replaced_most: int = 64  # of them that are open at once

    # Images whose index comes after its children, under the same tag
    steps_kept: float = 300.0  # for which an index may still need the children that were pushed under its tag
    interim: float = 25.0  # after its creation for which an index may take the place of what it names
    interim_poll: float = 1.0  # between two looks for it
    interim_kept: float = 60.0  # for which clients may go on reading what an index took the place of
    interim_sweep: float = 1.0  # between two looks at what is due

    # Pulls that wait for a tag
    wait_pauses: tuple[float, ...] = (2.0, 4.0, 8.0, 15.0)  # between two looks for it; the last one is repeated

    # Upstreams
    upstream: Policy = UPSTREAMS
    upstream_stall: float = 25.0  # without a byte, after which it is asked again
    upstream_patience: float = 55.0  # for all tries together, since bytes last moved
    upstream_tag: float = 600.0  # for which a tag answers without asking whether it was moved
    upstream_manifests: int = 8 * 1024 * 1024  # bytes of them that are kept in memory

    # Pushes
    prefetch_wait: float = 5.0  # from the beginning of a push, for which its requests wait at most
    prefetch_good: float = 30.0  # for which what was prefetched is good, and for which a failure is not tried again
    idle_poll: float = 0.25  # between two looks for repositories that nobody pushes to any more

    # Spool
    uploads: int = 1000  # open at once
    upload_fed: float = 5.0  # without a request, after which an upload no longer keeps its repository from being sealed
    unclaimed_kept: float = 3600.0  # until a blob that no manifest names is removed
    free_disk: int = 1 << 30  # below which no new upload starts


DEFAULT = Limits()
