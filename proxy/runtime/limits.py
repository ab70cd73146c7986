"""The bounds of one relay, in one value: parts take it as an argument, and tests make one with shorter times."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes, counts."""

    # Requests
    first_answer: float = 25.0  # until a waiting request is told to come again
    failure_kept: float = 60.0  # for which a failure that no client has received is kept

    # Catalog
    listing_fresh: float = 2.0  # for which one listing is good
    index_pieces: int = 200_000  # pieces in the indexes that are kept of a remote store: some 40 MiB of memory
    replaced_kept: float = 60.0  # without a request after which a replaced archive is closed

    # Images whose index comes after its children, under the same tag
    interim: float = 25.0  # after its creation for which an index may take the place of what it names
    interim_poll: float = 1.0  # between two looks for it
    superseded_kept: float = 60.0  # for which clients may go on reading what an index took the place of
    superseded_poll: float = 1.0  # between two looks at what is due

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
