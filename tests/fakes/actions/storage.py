"""A container in each account of Azurite, as the results service sees it: past the proxy, with an account's rights."""

import hashlib
import secrets
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from tests.fakes.actions import sas
from tests.fakes.actions.options import Options

_OWN_LIFETIME = 300.0  # seconds
_CHUNK = 256 * 1024  # bytes


class BlobStorage:
    """Blobs by name, and signed URLs for others."""

    def __init__(self, options: Options, session: aiohttp.ClientSession, azurite: str, issued: sas.Issued) -> None:
        self._options = options
        self._session = session
        self._azurite = azurite
        self._issued = issued
        self.container = f"actions-results-{secrets.token_hex(4)}"
        self.public_origin = azurite  # of the URLs that are handed out; the proxy puts its own

        self._elsewhere = set[str]()  # the blobs of the other account

    async def create(self) -> None:
        await self._containers("PUT", "c", 201)

    async def drop(self) -> None:
        await self._containers("DELETE", "d", 202)

    async def _containers(self, method: str, permissions: str, expected: int) -> None:
        for account in sas.KEYS:
            query = f"restype=container&{sas.sign_account(account, permissions, _OWN_LIFETIME)}"
            url = URL(f"{self._azurite}/{account}/{self.container}?{query}", encoded=True)
            async with self._session.request(method, url) as answer:
                if answer.status != expected:
                    raise RuntimeError(f"Azurite answered {answer.status}: {await answer.text()}")

    def reserve(self, blob: str) -> None:
        """Give a new blob its place: the account that the options tell now."""
        if self._options.elsewhere:
            self._elsewhere.add(blob)

    def sign(self, blob: str, permissions: str, lifetime: float, overrides: dict[str, str] | None = None) -> str:
        """Make a URL for somebody outside; each account has a host of its own."""
        place, signature = self._place(blob, permissions, lifetime, overrides)
        self._issued.remember(signature, lifetime)
        origin = elsewhere(self.public_origin) if blob in self._elsewhere else self.public_origin
        return f"{origin}/{place}"

    def _place(self, blob: str, *signed: Any) -> tuple[str, str]:
        """Return what follows the origin in the signed URL of a blob, and its signature."""
        account = sas.OTHER_ACCOUNT if blob in self._elsewhere else sas.ACCOUNT
        query, signature = sas.sign_blob(account, f"{self.container}/{blob}", *signed)
        return f"{account}/{self.container}/{quote(blob)}?{query}", signature

    def _own(self, blob: str, permissions: str) -> URL:
        return URL(f"{self._azurite}/{self._place(blob, permissions, _OWN_LIFETIME)[0]}", encoded=True)

    async def size(self, blob: str) -> int | None:
        """Return the length of a blob; None while no block list was committed."""
        async with self._session.head(self._own(blob, "r")) as answer:
            return int(answer.headers["Content-Length"]) if answer.status == 200 else None

    async def digest(self, blob: str) -> str:
        """Read a whole blob and return its sha256, written as in `hash`."""
        made = hashlib.sha256()
        async with self._session.get(self._own(blob, "r")) as answer:
            async for chunk in answer.content.iter_chunked(_CHUNK):
                made.update(chunk)
        return f"sha256:{made.hexdigest()}"

    async def delete(self, blob: str) -> None:
        async with self._session.delete(self._own(blob, "d")):
            pass  # a blob that was never committed is not there


def elsewhere(origin: str) -> str:
    """Return the origin of the other account: the same proxy by another name."""
    return origin.replace("127.0.0.1", "localhost")
