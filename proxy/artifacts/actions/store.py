"""The Actions store: archives as artifacts of the workflow run, each in a zip of its own, or bare.

Artifacts are immutable, and their names are taken for good: a tag that is pushed again gets the next `~N`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from yarl import URL

from proxy.archive.container import OVERHEAD, Wrapping, wrap
from proxy.archive.index import TAIL
from proxy.artifacts.actions.azure import BlobStorage, appends, content_headers
from proxy.artifacts.actions.block_upload import MOST_BYTES, BlockUpload, Uploaded, UploadLost
from proxy.artifacts.actions.early_upload import EarlyArtifact, EarlyUpload, EarlyUploads, Firsts
from proxy.artifacts.actions.finalize import Finalizer
from proxy.artifacts.actions.name_claim import NameClaim
from proxy.artifacts.actions.remote_file import Link, RemoteFile, Tails
from proxy.artifacts.actions.reserved_names import ReservedNames
from proxy.artifacts.actions.results import Created, Listed, NoSuchArtifact, ResultsService
from proxy.artifacts.actions.run_reader import ArtifactReader, NoReader, RunReader, artifact_of, delete_by_name
from proxy.artifacts.actions.trusted_hosts import TrustedHosts
from proxy.artifacts.base import (
    NOBODYS,
    Artifact,
    ArtifactGone,
    Body,
    Claim,
    Contested,
    Ownership,
    StoreRefused,
    refuse,
)
from proxy.artifacts.naming import SUFFIX
from proxy.runtime.limits import Rereading

_log = logging.getLogger(__name__)
_UPLOADS = 3  # of one push to Azure that have tried long enough


class ActionsStore:
    """Artifacts of one workflow run; empty and closed until a session opens it."""

    overwrites, is_remote = False, True
    kept = 100  # of its own artifacts that are held open for their first reader

    def __init__(
        self,
        storage: BlobStorage,
        trust: TrustedHosts,
        folder: Path,
        *,
        any_job: bool = False,
        form: Literal["zip", "raw"] = "zip",
        reserved: Path | None = None,
    ) -> None:
        self.closed, self.any_job = NoReader.undeletable, any_job
        self._storage, self._trust, self._folder = storage, trust, folder
        self._raw = form == "raw"
        self._service: ResultsService | None = None
        self._reader: ArtifactReader = NoReader()
        self._tails, self._early = Tails(), EarlyUploads(storage)
        self._reserved = ReservedNames(reserved or folder / "reserved.json")
        self._forget()

    def _forget(self) -> None:
        self._seen: list[Artifact] = []  # the newest listing
        self._latest, self._has_listed = datetime.fromtimestamp(0, UTC), False  # creation of what is known
        self._unfinished: set[str] = set()  # names that this relay reserved; some servers list them
        self._used: set[str] = set()  # names that this relay reserved, and has not freed
        self._unlisted: dict[str, Artifact] = {}  # by id; what was stored, and no listing has shown yet
        self._deleted: set[str] = set()  # ids of what a listing may still show
        self._own: dict[str, RemoteFile] = {}  # by id; of what was stored, until somebody opens it

    def open_with(self, service: ResultsService, *, is_another_run: bool = False) -> None:
        """Use a session, to read and to write, from now on."""
        if is_another_run:
            self._forget()
        if self._service and self._service.session.run == service.session.run:
            service.has_artifacts = service.has_artifacts or self._service.has_artifacts
        self._service, self._reader = service, RunReader(service)
        self.closed, self._has_listed = "", False
        self._reserved.begin(service.session.owner)

    def read_with(self, reader: ArtifactReader, closed: str) -> None:
        """Read through something else; `closed` is what a push is told."""
        self._reader, self.closed = reader, closed

    @property
    def undeletable(self) -> str:
        """Why nothing can be deleted now; empty where it can."""
        return self._reader.undeletable

    def may_replace(self, artifact: Artifact) -> bool:
        """Refuse what another job of the same attempt has stored; a later attempt replaces what an earlier one did."""
        if self.any_job or self._service is None:
            return True
        run, _, job = artifact.owner.partition(":")
        return run != self._service.session.run or job == self._service.session.job

    def now(self) -> datetime:
        """Return the time by the clock of the service; without a session, by ours."""
        return self._service.now() if self._service else datetime.now(UTC)

    @property
    def rereading(self) -> Rereading:
        """How often, and when, an artifact is read again whose bytes are not what they have to be."""
        return self._storage.timeouts.rereading

    async def listed(self) -> list[Artifact]:
        """Return all finished artifacts of the run, but none that this relay has not finished itself."""
        owner = self._service.session.owner if self._service else ""
        return [each for each in await self._all() if each.name not in self._unfinished or each.owner != owner]

    def expire(self) -> None:
        """Have the next `list` ask anew."""
        self._reader.expire()

    async def _all(self) -> list[Artifact]:
        """List what is there, also what this relay has begun and is not sure of."""
        found = await self._reader.listed()
        self._latest = max([self._latest, *(each.created for each in found)])
        self._has_listed = True
        for each in found:
            self._unlisted.pop(each.id, None)
        self._seen = [each for each in found if each.id not in self._deleted]
        return self._seen

    async def open(self, artifact: Artifact) -> RemoteFile:
        """Read the end of an artifact.

        Raise ArtifactGone if it is there no more, CorruptDownload if what came is known to be something else.
        """
        if file := self._own.pop(artifact.id, None):
            return file
        file = self._file(artifact)
        try:
            await file.look()
        except StoreRefused:
            if artifact.finalized or await self._is_listed(artifact):
                raise
            raise ArtifactGone(artifact.name) from None  # act falls over when it is asked for what is not there
        return file

    def _file(self, artifact: Artifact) -> RemoteFile:
        link = Link(artifact, self._sign, self._is_listed, self._storage)
        return RemoteFile(artifact, link, self._storage, self._tails, self._folder)

    async def _is_listed(self, artifact: Artifact) -> bool:
        return artifact.id in {each.id for each in await self.listed()}

    async def _sign(self, artifact: Artifact) -> URL:
        return self._checked(await self._reader.sign(artifact))

    def _checked(self, url: URL) -> URL:
        self._trust.check_signed(url, self._service.session.origin if self._service else None)
        return url

    async def delete(self, artifact: Artifact) -> bool:
        """Delete an artifact, and return whether this did; one that is gone already is no error."""
        refuse(self.undeletable)
        if artifact.id in self._deleted:
            return False
        self._own.pop(artifact.id, None)
        if self._reader.by_name:
            done = await delete_by_name(self._reader, artifact, self._all, self._unlisted)
        else:
            done = await self._reader.delete(artifact)
        if done and artifact.finalized:  # else id and name may be given again
            self._deleted.add(artifact.id)
            self._used.discard(artifact.name)
        self._seen = [each for each in self._seen if each.id != artifact.id]
        return done

    def _writing(self) -> ResultsService:
        if self._service is None or self.closed:
            raise StoreRefused(self.closed)
        return self._service

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        """Store an archive under a name, or `name~N` where that is taken."""
        service = self._writing()
        if body.size + OVERHEAD > MOST_BYTES:
            raise StoreRefused(f"the image has {body.size} bytes, an artifact takes {MOST_BYTES}")
        if not self._has_listed:
            await self.listed()
        claim = Claim(Ownership.ANY) if self.any_job and claim.whose is Ownership.JOB else claim
        contest = self._contest(name, claim)
        begun = await self._early.take(name, contest)
        problem, tries, is_over = "", 0, False
        for wait in service.waits():
            begun = begun or await self._begin(contest)
            try:
                return await self._store(service, contest, begun, body)
            except UploadLost as lost:
                problem, tries, is_over = str(lost), tries + lost.was_patient, lost.is_final
            _log.warning("%s has to be given up (%s); the upload starts again under another name", begun.full, problem)
            if is_over or (not appends(begun.created.url) and tries == _UPLOADS):
                break
            begun = None
            await asyncio.sleep(wait)
            service.retrying()
        raise StoreRefused(f"the image was not stored, under any of several names ({problem}); try again later")

    def begin(self, name: str, look: Callable[[], Awaitable[Firsts]]) -> EarlyUpload | None:
        """Begin an upload that `put` under this name goes on with."""
        return None if self.closed else self._early.begin(name, look, lambda: self._begin(self._contest(name)))

    def _contest(self, name: str, claim: Claim | None = None) -> NameClaim:
        """Look for a name; without a claim, for one that is free."""
        service, seen = self._writing(), [*self._seen, *self._unlisted.values()]
        return NameClaim(name, claim or NOBODYS, service.session, service.timeouts, seen, self._all, claim is not None)

    async def _begin(self, contest: NameClaim) -> EarlyArtifact:
        service = self._writing()

        async def create(full: str) -> Created:
            try:
                created = await service.create(full, raw=self._raw)
            except asyncio.CancelledError:
                self._unfinished.add(full)  # maybe
                raise
            self._unfinished.add(full)
            self._checked(created.url)
            return created

        full, created = await contest.take(create, self._reserved, self._used)
        upload = BlockUpload(self._storage, created.url, content_headers(full + SUFFIX, is_raw=created.raw))
        return EarlyArtifact(full, created, service.session.owner, contest.others(full), upload)

    async def _store(self, service: ResultsService, contest: NameClaim, begun: EarlyArtifact, body: Body) -> Artifact:
        """Upload and finish one artifact. Raise UploadLost if its name has to be given up, Contested."""
        began, full = service.now(), begun.full
        wrapping = Wrapping(b"", b"") if begun.created.raw else wrap(full + SUFFIX, body.size, body.crc)
        uploaded = await begun.upload.send(begun.around(wrapping, body), TAIL + len(wrapping.end))
        is_whole, deleted = partial(self._is_whole, service), frozenset(self._deleted)
        finishing = Finalizer(service, full, uploaded, is_whole, contest.allow, deleted)
        try:
            found = await finishing.once(look=appends(begun.created.url))
            try:
                artifact = await contest.settle(self._stored(service, full, found, began, uploaded))
            except StoreRefused:  # it is finished all the same, and other jobs have it
                self._unfinished.discard(full)
                raise
        except Contested:
            await self._withdraw(contest, full)
            raise Contested(service.random.uniform(*service.timeouts.again)) from None
        self._unfinished.discard(full)
        self._seen = [*(each for each in self._seen if each.id != artifact.id), artifact]
        await self._reserved.drop(full)
        self._keep(artifact, uploaded, wrapping, body.size)
        return artifact

    async def _withdraw(self, contest: NameClaim, full: str) -> None:
        """Delete what this push has finished, or may have, of a tag that is another job's."""
        for artifact in await contest.finished(full):
            try:
                await self.delete(artifact)
            except StoreRefused as error:
                _log.warning("%s should have been deleted, since its tag belongs to another job: %s", full, error)
            else:  # the next holder of the name is another one
                self._unfinished.discard(full)
                await self._reserved.drop(full)

    def _keep(self, artifact: Artifact, uploaded: Uploaded, wrapping: Wrapping, size: int) -> None:
        """Have an artifact open for its first reader."""
        file = self._file(artifact)
        file.place(
            len(wrapping.head), len(wrapping.head) + size, uploaded.tail[: len(uploaded.tail) - len(wrapping.end)]
        )
        self._own[artifact.id] = file
        self._own = dict(list(self._own.items())[-self.kept :])

    def _stored(
        self, service: ResultsService, full: str, found: Listed | str, began: datetime, uploaded: Uploaded
    ) -> Artifact:
        """Describe what was stored. It was created after all that are known, whatever clocks say."""
        if isinstance(found, Listed):
            return artifact_of(found)
        self._latest = max(self._latest, began)
        artifact = self._unlisted[found] = Artifact(full, found, self._latest, uploaded.size, service.session.owner)
        return artifact

    async def _is_whole(self, service: ResultsService, found: Listed, size: int) -> bool:
        """Can an artifact be read, and has it all bytes? act lists the size of a folder instead."""
        try:
            if found.size == size:
                await service.sign(found.run, found.job, found.name)
                return True
            return await self._file(artifact_of(found)).is_all_of(size)
        except (NoSuchArtifact, ArtifactGone):  # Forgejo lists what is not confirmed
            return False
