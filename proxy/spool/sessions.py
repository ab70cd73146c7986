"""The upload sessions that are open."""

import time
from collections.abc import AsyncIterator

from proxy.errors import BlobUploadUnknown, TooManyRequests
from proxy.oci.digest import Digest
from proxy.oci.names import Name
from proxy.runtime.limits import Limits
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import run_in_thread
from proxy.spool.blobs import Blobs
from proxy.spool.paths import check_room, disk_troubles, new_path
from proxy.spool.staging import Part
from proxy.spool.upload import Upload

_IDLE = 15 * 60  # seconds until an upload that nobody continues is given up


class UploadSessions:
    """Uploads in progress, each of which becomes one of the blobs. `len` is how many are open."""

    def __init__(self, blobs: Blobs, *, level: int, memory: MemoryBudget, limits: Limits) -> None:
        self._blobs = blobs
        self._level = level
        self._memory = memory
        self._limits = limits
        self._uploads: dict[str, Upload] = {}
        self._starting = 0  # uploads that are about to be open

    def __len__(self) -> int:
        return len(self._uploads)

    async def start(self, name: Name, algorithm: str = "sha256") -> Upload:
        """Open an upload session. Raise TooManyRequests if too many are open, Denied if the disk is full."""
        most = self._limits.uploads
        if len(self._uploads) + self._starting >= most:
            raise TooManyRequests(f"{most} uploads are open; finish or cancel some", {"Retry-After": "10"})
        self._starting += 1
        try:
            await self._blobs.make_room(self._limits.free_disk)
            with disk_troubles(self._blobs.root):
                upload = await run_in_thread(self._open, name, algorithm)
            self._uploads[upload.id] = upload
        finally:
            self._starting -= 1
        return upload

    def _open(self, name: Name, algorithm: str) -> Upload:
        path = new_path(self._blobs.root)
        check_room(self._blobs.root, self._limits.free_disk)
        return Upload(name, path, algorithm=algorithm, level=self._level, memory=self._memory, limits=self._limits)

    def get(self, name: Name, upload_id: str) -> Upload:
        """Return an open session of this repository. Raise BLOB_UPLOAD_UNKNOWN if there is none."""
        upload = self._uploads.get(upload_id)
        if upload is None or upload.name != name:
            raise BlobUploadUnknown(f"no upload {upload_id[:80]!r} is open in {name}; start a new one")
        return upload

    def is_fed(self, name: Name) -> bool:
        """Return whether bytes come for this repository, or came a moment ago: a session alone may be forgotten."""
        return any(upload.name == name and upload.is_fed for upload in self._uploads.values())

    async def append(self, upload: Upload, chunks: AsyncIterator[bytes]) -> None:
        """Append bytes to an upload; if they cannot be written, the upload is cancelled."""
        try:
            with disk_troubles(self._blobs.root):
                await upload.append(chunks)
        finally:
            if upload.torn:
                await self.cancel(upload)

    async def finish(self, upload: Upload, digest: Digest) -> None:
        """Make the upload a blob of its repository; a wrong digest ends it."""
        with upload.alone():  # what is refused here does not end it: the other request goes on
            try:
                with disk_troubles(self._blobs.root):
                    entry = await upload.finish(digest)
                await self._blobs.commit([upload.name], Part(upload.path, digest, entry))
            finally:
                await self.cancel(upload)

    async def cancel(self, upload: Upload) -> None:
        """Forget an upload and what it wrote."""
        self._uploads.pop(upload.id, None)
        await upload.close()
        with disk_troubles(self._blobs.root):
            await run_in_thread(upload.path.unlink, missing_ok=True)

    async def cancel_all(self) -> None:
        """Cancel all uploads."""
        for upload in list(self._uploads.values()):
            await self.cancel(upload)

    async def cancel_idle(self) -> None:
        """Cancel uploads that nobody continues."""
        idle = time.monotonic() - _IDLE
        for upload in [upload for upload in self._uploads.values() if upload.used < idle]:
            await self.cancel(upload)
