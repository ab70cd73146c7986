"""Signed URLs for Azurite, and the memory of all signed URLs that were issued.

The first account and its key are the published ones of the emulator; the strings to sign are those of the documentation
of the service SAS and of the account SAS, version 2020-12-06.
"""

import base64
import hashlib
import hmac
import math
import time
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

ACCOUNT, OTHER_ACCOUNT = "devstoreaccount1", "elsewhere1"
KEYS = {
    ACCOUNT: "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    OTHER_ACCOUNT: base64.b64encode(b"the key of the other account").decode(),
}
_VERSION = "2020-12-06"
_SKEW = 5  # seconds; a URL is valid since shortly before it was made
_PROTOCOLS = "https,http"  # the real one says https; Azurite serves http


class Issued:
    """When each signed URL ends. Finer than the URL's own whole seconds, and it can be brought forward."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def remember(self, signature: str, lifetime: float) -> None:
        """Note a new URL by its signature."""
        self._ends[signature] = time.monotonic() + lifetime

    def expired(self, signature: str) -> bool:
        """Return whether a URL is past its end; what was never issued is for others to refuse."""
        return time.monotonic() >= self._ends.get(signature, math.inf)

    def expire_all(self) -> None:
        """End every URL that was issued up to now."""
        self._ends = dict.fromkeys(self._ends, -math.inf)


def sign_blob(
    account: str, path: str, permissions: str, lifetime: float, overrides: dict[str, str] | None = None
) -> tuple[str, str]:
    """Return the query for a blob (`container/name`), and the signature in it; overrides are `rscd`, `rsct` and kin."""
    start, end = _times(lifetime)
    given = overrides or {}
    responses = [given.get(name, "") for name in ("rscc", "rscd", "rsce", "rscl", "rsct")]
    resource = f"/blob/{account}/{path}"
    fields = [permissions, start, end, resource, "", "", _PROTOCOLS, _VERSION, "b", "", "", *responses]
    signature = _signature(account, "\n".join(fields))
    query = {
        **given,
        "se": end,
        "sig": signature,
        "sp": permissions,
        "spr": _PROTOCOLS,
        "sr": "b",
        "st": start,
        "sv": _VERSION,
    }
    return urlencode(query, quote_via=quote, safe=""), signature


def sign_account(account: str, permissions: str, lifetime: float) -> str:
    """Return the query that lets the emulator itself make and drop containers."""
    start, end = _times(lifetime)
    fields = [account, permissions, "b", "c", start, end, "", _PROTOCOLS, _VERSION, "", ""]
    query = {
        "sv": _VERSION,
        "ss": "b",
        "srt": "c",
        "sp": permissions,
        "st": start,
        "se": end,
        "spr": _PROTOCOLS,
        "sig": _signature(account, "\n".join(fields)),
    }
    return urlencode(query, quote_via=quote, safe="")


def _times(lifetime: float) -> tuple[str, str]:
    now = time.time()
    return _text(now - _SKEW), _text(math.ceil(now + lifetime))


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _signature(account: str, text: str) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(KEYS[account]), text.encode(), hashlib.sha256)).decode()
