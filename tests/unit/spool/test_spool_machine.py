"""Random walks over the real spool, with restarts at any moment: what was answered is kept, nothing is left over."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.oci.digest import Digest
from proxy.oci.names import Name
from tests.registry_harness import chunks, image, noise, plain
from tests.unit.spool.harness import spool_in

if TYPE_CHECKING:
    from proxy.oci.manifest import Manifest
    from proxy.spool.upload import Upload

T = TypeVar("T")
BLOBS = [b"", b"x", b"text " * 1000, noise(1000), noise(70_000, 1), noise(70_000, 2)]
DIGESTS = [Digest.of(content) for content in BLOBS]
MANIFESTS = [image(BLOBS[3], config=BLOBS[1]), image(BLOBS[4], BLOBS[5]), image(config=BLOBS[0])]
NAMES = [Name.parse("app"), Name.parse("team/app")]
CONTENTS = dict(zip(DIGESTS, BLOBS, strict=True))

names = st.sampled_from(NAMES)
numbers = st.integers(0, len(BLOBS) - 1)
several = st.lists(numbers, max_size=6)
manifest_numbers = st.integers(0, len(MANIFESTS) - 1)
Seen = dict[tuple[Name, Digest], float]  # how many seconds ago it was linked


class SpoolWalk(RuleBasedStateMachine):
    """The model: who sees which blob since when, what is pending, which uploads are open."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.lives = 0
        self.linked: Seen = {}
        self.pending: dict[tuple[Name, Digest], Manifest] = {}
        self.uploads: list[tuple[Upload, bytes, float]] = []  # with its content, and how many seconds it was idle

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        try:
            self.what_is_linked_is_there_and_exact()
            self.nothing_is_left_when_nobody_needs_anything()
        finally:
            self.loop.close()
            self.folder.cleanup()

    # Life

    @initialize()
    def start(self) -> None:
        self._open(self._another_folder())

    def _another_folder(self) -> Path:
        self.lives += 1
        return Path(self.folder.name) / str(self.lives)

    def _open(self, root: Path) -> None:
        self.spool = spool_in(root)
        self.run(self.spool.open())
        self.uploads = []

    @rule()
    def restart(self) -> None:
        self._open(self.spool.root)

    def _killed_during(self, work: Coroutine[Any, Any, object], steps: int) -> None:
        """Do some steps of the work, and go on with the disk as it was at that moment."""
        snapshot = self._another_folder()

        async def some_steps() -> None:
            task = asyncio.ensure_future(work)
            for _ in range(steps):
                await asyncio.sleep(0.0002)
            shutil.copytree(self.spool.root, snapshot, copy_function=copied)
            await task

        self.run(some_steps())
        self._open(snapshot)

    # What requests do

    @rule(name=names, which=numbers, cut=st.integers(1, 70_000))
    def upload(self, name: Name, which: int, cut: int) -> None:
        content = BLOBS[which]
        self.run(self._upload(name, content, cut))
        self.linked[name, Digest.of(content)] = 0

    async def _upload(self, name: Name, content: bytes, cut: int) -> None:
        upload = await self.spool.sessions.start(name)
        await self.spool.sessions.append(upload, chunks(content[:cut]))
        await self.spool.sessions.append(upload, chunks(content[cut:]))
        await self.spool.sessions.finish(upload, Digest.of(content))

    @rule(name=names, which=numbers, steps=st.integers(0, 12))
    def be_killed_during_an_upload(self, name: Name, which: int, steps: int) -> None:
        self._killed_during(self._upload(name, BLOBS[which], 500), steps)
        digest = DIGESTS[which]
        if self.spool.linked(name, digest):
            self.linked[name, digest] = 0

    @rule(name=names, which=numbers)
    def begin_an_upload(self, name: Name, which: int) -> None:
        content = BLOBS[which]
        upload = self.run(self.spool.sessions.start(name))
        half = content[: len(content) // 2]
        self.run(self.spool.sessions.append(upload, chunks(half)))
        self.uploads.append((upload, content, 0))

    @rule(which=st.integers(0, 5), right=st.booleans())
    def finish_an_upload(self, which: int, right: bool) -> None:
        if not self.uploads:
            return
        upload, content, _ = self.uploads.pop(which % len(self.uploads))
        rest = content[upload.offset :] if right else b"something else"
        self.run(self.spool.sessions.append(upload, chunks(rest)))
        finished = self.run(settled(self.spool.sessions.finish(upload, Digest.of(content))))
        assert finished == right
        if right:
            self.linked[upload.name, Digest.of(content)] = 0

    @rule(name=names, which=numbers)
    def mount(self, name: Name, which: int) -> None:
        digest = DIGESTS[which]
        if any(seen == digest for _, seen in self.linked):
            self.run(self.spool.link(name, digest))
            self.linked[name, digest] = 0

    @rule(name=names, which=several)
    def unlink(self, name: Name, which: list[int]) -> None:
        some = [DIGESTS[each] for each in which]
        self.run(self.spool.unlink(name, some))
        self.linked = {key: age for key, age in self.linked.items() if key[0] != name or key[1] not in some}

    @rule(name=names, which=several, steps=st.integers(0, 8))
    def be_killed_while_unlinking(self, name: Name, which: list[int], steps: int) -> None:
        some = [DIGESTS[each] for each in which]
        self._killed_during(self.spool.unlink(name, some), steps)
        for digest in some:
            if not self.spool.linked(name, digest):
                self.linked.pop((name, digest), None)

    @rule(name=names, which=manifest_numbers)
    def hold(self, name: Name, which: int) -> None:
        manifest = MANIFESTS[which]
        self.run(self.spool.pending.add(name, manifest.digest, manifest))
        self.pending[name, manifest.digest] = manifest

    @rule(name=names, which=manifest_numbers, steps=st.integers(0, 6))
    def be_killed_while_holding(self, name: Name, which: int, steps: int) -> None:
        manifest = MANIFESTS[which]
        self._killed_during(self.spool.pending.add(name, manifest.digest, manifest), steps)
        if manifest.digest in self.spool.pending.get(name, {}):
            self.pending[name, manifest.digest] = manifest

    @rule(name=names, which=manifest_numbers)
    def release(self, name: Name, which: int) -> None:
        manifest = MANIFESTS[which]
        released = self.run(self.spool.pending.remove(name, [manifest.digest]))
        assert bool(released) == (self.pending.pop((name, manifest.digest), None) is not None)

    # Time

    @rule(seconds=st.sampled_from([60, 20 * 60, 61 * 60]))
    def grow_older_and_sweep(self, seconds: int) -> None:
        self._grow_older(seconds)
        self.run(self.spool.sweep())
        needed = {(name, digest) for (name, _), manifest in self.pending.items() for digest in manifest.named}
        self.linked = {key: age for key, age in self.linked.items() if age < 3600 or key in needed}
        self.uploads = [each for each in self.uploads if each[2] < 15 * 60]

    def _grow_older(self, seconds: int) -> None:
        """Move the past, which can be done, rather than the clock."""
        for path in (self.spool.root / "links").rglob("*"):
            os.utime(path, (path.stat().st_mtime - seconds,) * 2)
        for links in self.spool._links.values():
            for digest in links:
                links[digest] -= seconds
        self.linked = {key: age + seconds for key, age in self.linked.items()}
        for upload, _, _ in self.uploads:
            upload.used -= seconds
        self.uploads = [(upload, content, idle + seconds) for upload, content, idle in self.uploads]

    # What always holds

    @invariant()
    def a_repository_sees_what_was_linked_and_nothing_else(self) -> None:
        for name in NAMES:
            seen = {digest for digest in DIGESTS if self.spool.linked(name, digest)}
            assert seen == {digest for each, digest in self.linked if each == name}

    @rule()
    def what_is_linked_is_there_and_exact(self) -> None:
        for digest in {digest for _, digest in self.linked}:
            assert self.run(self._read(digest)) == CONTENTS[digest]

    async def _read(self, digest: Digest) -> bytes:
        blob = await self.spool.find(digest)
        assert blob is not None
        return await plain(blob)

    @invariant()
    def what_is_pending_is_there(self) -> None:
        held = {(name, digest): each for name, some in self.spool.pending.items() for digest, each in some.items()}
        assert held.keys() == self.pending.keys()
        for key, manifest in self.pending.items():
            assert held[key].named == manifest.named
            assert self.run(self._content(*key)) == manifest.content

    async def _content(self, name: Name, digest: Digest) -> bytes:
        blob = await self.spool.pending.find(name, digest)
        assert blob is not None
        return await plain(blob)

    @invariant()
    def there_is_no_file_that_nobody_knows(self) -> None:
        blobs = {Digest(path.parent.name, path.name) for path in files(self.spool.root / "blobs")}
        assert {digest for _, digest in self.linked} <= blobs
        assert len(list(files(self.spool.root / "uploads"))) == len(self.uploads)
        assert len(list(files(self.spool.root / "links"))) == len(self.linked)
        assert len(list(files(self.spool.root / "pending"))) == len(self.pending)

    def nothing_is_left_when_nobody_needs_anything(self) -> None:
        for name, digest in self.pending:
            self.run(self.spool.pending.remove(name, [digest]))
        self.pending = {}
        self.grow_older_and_sweep(61 * 60)
        assert list(files(self.spool.root)) == []


async def settled(work: Coroutine[Any, Any, object]) -> bool:
    """Return whether something succeeded."""
    (outcome,) = await asyncio.gather(work, return_exceptions=True)
    return not isinstance(outcome, BaseException)


def files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def copied(source: str, target: str) -> str:
    """Copy a file of a folder that is changing: what is gone by now is gone."""
    try:
        return str(shutil.copy2(source, target))
    except FileNotFoundError:
        return target


TestSpoolWalk = SpoolWalk.TestCase
TestSpoolWalk.settings = settings(stateful_step_count=25, max_examples=40)
