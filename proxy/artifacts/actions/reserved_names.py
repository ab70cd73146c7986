"""Names that this job may have taken and not finished, on disk: a relay that is started again in its job knows them."""

import asyncio
import hashlib
import json
import logging
from pathlib import Path

from proxy.runtime.tasks import run_in_thread

_log = logging.getLogger(__name__)


class ReservedNames:
    """The names of one job at a time, in a file that also says, as a hash, of which job."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = ""
        self._names: set[str] | None = None
        self._turn = asyncio.Lock()

    def begin(self, owner: str) -> None:
        """Use the names of this owner from now on; those of another are forgotten."""
        hashed = hashlib.sha256(owner.encode()).hexdigest()
        if hashed != self._owner:
            self._owner, self._names = hashed, None

    async def has(self, name: str) -> bool:
        """Return whether this job may have taken a name."""
        return name in await self._known()

    async def add(self, name: str) -> None:
        """Note a name, durably with regard to the end of this process. Raise OSError."""
        names = await self._known()
        if name not in names:
            names.add(name)
            await self._write(names)

    async def drop(self, name: str) -> None:
        """Forget a name: it is another job's, or is listed.

        Where the file cannot be written, only a relay that is started again still takes the name for its own.
        """
        names = await self._known()
        if name in names:
            names.discard(name)
            try:
                await self._write(names)
            except OSError as error:
                _log.warning("cannot note that %s is no longer reserved: %s", name, error.strerror)

    async def _known(self) -> set[str]:
        async with self._turn:
            if self._names is None:
                self._names = await run_in_thread(self._read, self._owner)
            return self._names

    def _read(self, owner: str) -> set[str]:
        try:
            document = json.loads(self._path.read_bytes())
            return set(map(str, document["names"])) if document["owner"] == owner else set()
        except (OSError, ValueError, TypeError, LookupError):  # there is none, or it is damaged
            return set()

    async def _write(self, names: set[str]) -> None:
        async with self._turn:
            await run_in_thread(self._replace, json.dumps({"owner": self._owner, "names": sorted(names)}))

    def _replace(self, text: str) -> None:
        part = self._path.with_name(self._path.name + ".part")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text)
        part.replace(self._path)
