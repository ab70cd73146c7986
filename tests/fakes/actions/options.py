"""How an emulator behaves; a test may change all but flavour and repository while it runs."""

from dataclasses import dataclass
from enum import StrEnum


class Flavour(StrEnum):
    """Whose results service is played."""

    GITHUB = "github"
    ACT = "act"
    GITEA = "gitea"  # up to 1.25
    FORGEJO = "forgejo"

    @property
    def decimal_ids(self) -> bool:
        """GitHub's ids are UUIDs, all others parse them as numbers."""
        return self is not Flavour.GITHUB


@dataclass(slots=True)
class Options:
    """Seconds and bytes throughout. Each default is what GitHub does, or where that is not known the stricter way."""

    flavour: Flavour = Flavour.GITHUB
    repository: str = "octo/relay"
    upload_lifetime: float = 3600.0
    read_lifetime: float = 600.0
    rest_lifetime: float = 60.0
    max_retention_days: int = 90
    whole_read_limit: int | None = 8 * 1024 * 1024  # largest blob that may be read without Range; None: any
    check_digest: bool = False  # whether finalize compares the bytes with `hash`
    duplicate_on_finalize: bool = True  # whether a finalize that is repeated makes a second artifact
    delete_frees_unfinished: bool = False  # whether delete gives a reserved name back
    unique_across_attempts: bool = False  # whether names are taken by earlier attempts of the run too
    ignore_case: bool = False  # whether names that differ by case alone are the same
    copies: bool = True  # whether blob storage copies from one blob to another; if not, it cannot verify the source
    direct: bool = False  # whether signed URLs lead to the storage itself, past counters, faults and checks
    direct_origin: str = ""  # where they lead then, if the storage has another way in, such as TLS
    elsewhere: bool = False  # whether new artifacts are stored in another account, which has a host of its own
    listed_after: float = 0.0  # how long a finalized artifact stays unseen
    id_at_finalize: bool = False  # whether an id is given at Finalize, or at Create
    created_at_finalize: bool = False  # whether `created_at` is the time of Finalize, or of Create
    public: bool = False  # whether REST lists without a token
    ahead: float = 0.0  # by how much the clock that its answers tell goes before ours
    rest_budget: int = 1000  # REST requests until the limit answers; set it again to refill

    def __post_init__(self) -> None:
        self.flavour = Flavour(self.flavour)
