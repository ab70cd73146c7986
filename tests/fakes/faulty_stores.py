"""Directory stores with a will of their own: they really store, but not always and not at once."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from proxy.artifacts.base import NOBODYS, Artifact, Body, Claim, StoreRefused
from proxy.artifacts.directory import DirectoryStore
from proxy.blob import T
from proxy.runtime.files import Bytes, Source


class FaultyStore(DirectoryStore):
    """A directory store that can be told to fail, and to wait before it stores: all names, or those with `only`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.failure: Exception | None = None
        self.only = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []

    def refuse(self) -> None:
        self.failure = StoreRefused("the storage quota is used up; delete some artifacts")

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        self.asked.append(name)
        if self.only in name:
            await self.gate.wait()
            if self.failure:
                raise self.failure
        return await super().put(name, body, claim)


class CountingStore(DirectoryStore):
    """A directory store that counts the bytes that are read from it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read = 0

    async def open(self, artifact: Artifact) -> "CountingFile":
        return CountingFile(await super().open(artifact), self)


class CountingFile:
    """A file of a store that counts."""

    read_ahead = 1
    is_local = True
    entire = False

    def __init__(self, file: Source, store: CountingStore) -> None:
        self._file = file
        self._store = store
        self.size = file.size

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        def counted(stored: Bytes) -> T:
            self._store.read += len(stored)
            return then(stored)

        return await self._file.read(start, stop, counted)
