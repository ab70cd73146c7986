"""The back end whose images are files of a folder."""

from collections.abc import Sequence

from config.settings import Settings
from proxy.artifacts.base import ArtifactStore
from proxy.artifacts.by_hand import FileByHand, out_of_folder
from proxy.artifacts.naming import Naming
from proxy.backends.backend import READ_ONLY, BackendStatus, unpack_folder
from proxy.catalog.catalog import Catalog
from proxy.catalog.other_run import OtherRun
from proxy.errors import Denied
from proxy.runtime.limits import DEFAULT, Limits
from proxy.spool.run import FOLDER


class DirectoryBackend:
    """Images are files of a folder."""

    kind = "directory"
    place = "the folder of the relay"
    readers = "From this relay"
    has_artifact_ids = False
    others: Sequence[OtherRun] = ()
    run = FOLDER

    def __init__(
        self, store: ArtifactStore, settings: Settings, public_host: str = "", limits: Limits = DEFAULT
    ) -> None:
        self.public_host = public_host or settings.public_host
        self.public_hosts = {self.public_host}
        self.catalog = Catalog(store, Naming(settings.artifact_prefix), unpack_folder(settings), limits)
        self.location = str(settings.data)
        self._folder = settings.data
        self._is_read_only = settings.access == "read"

    def status(self) -> BackendStatus:
        """Return that the store can be used."""
        return BackendStatus()

    def closed(self) -> str:
        """Return why nothing can be pushed now; empty where it can."""
        return READ_ONLY if self._is_read_only else self.catalog.closed

    def undeletable(self) -> str:
        """Return why nothing can be deleted now; empty where it can."""
        return READ_ONLY if self._is_read_only else self.catalog.undeletable

    def missing_message(self, wanted: str, there: str) -> str:
        """Return a sentence: a reference is not there, but what is."""
        return f"{wanted} is not here (there is: {there or 'nothing yet'}); another tag, or not pushed yet?"

    def by_hand(self, artifact: str) -> FileByHand:
        """Return the file in the folder."""
        return out_of_folder(artifact, self._folder)

    async def accept(self, content: bytes) -> None:
        """Refuse: a folder needs none."""
        raise Denied("this relay keeps images in a folder and needs no session; start it with RELAY_STORE=actions")

    async def watch(self) -> None:
        """Log nothing."""
