"""One container in Azurite, as the results service itself sees it: past the proxy, with the account's rights."""

import hashlib
import secrets
from urllib.parse import quote

import aiohttp
from yarl import URL

from tests.fakes.actions import sas

_OWN_LIFETIME = 300.0  # seconds
_CHUNK = 256 * 1024  # bytes


class BlobStorage:
    """Blobs by name, and signed URLs for others."""

    def __init__(self, session: aiohttp.ClientSession, azurite: str, issued: sas.Issued) -> None:
        self._session = session
        self._azurite = azurite
        self._issued = issued
        self.container = f"actions-results-{secrets.token_hex(4)}"
        self.public_origin = azurite  # of the URLs that are handed out; the proxy puts its own

    async def create(self) -> None:
        await self._container("PUT", "c", 201)

    async def drop(self) -> None:
        await self._container("DELETE", "d", 202)

    async def _container(self, method: str, permissions: str, expected: int) -> None:
        query = f"restype=container&{sas.sign_account(permissions, _OWN_LIFETIME)}"
        url = URL(f"{self._azurite}/{sas.ACCOUNT}/{self.container}?{query}", encoded=True)
        async with self._session.request(method, url) as answer:
            if answer.status != expected:
                raise RuntimeError(f"Azurite answered {answer.status}: {await answer.text()}")

    def sign(self, blob: str, permissions: str, lifetime: float, overrides: dict[str, str] | None = None) -> str:
        """Make a URL for somebody outside."""
        query, signature = sas.sign_blob(f"{self.container}/{blob}", permissions, lifetime, overrides)
        self._issued.remember(signature, lifetime)
        return f"{self.public_origin}/{sas.ACCOUNT}/{self.container}/{quote(blob)}?{query}"

    def _own(self, blob: str, permissions: str) -> URL:
        query, _ = sas.sign_blob(f"{self.container}/{blob}", permissions, _OWN_LIFETIME)
        return URL(f"{self._azurite}/{sas.ACCOUNT}/{self.container}/{quote(blob)}?{query}", encoded=True)

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
