"""To which hosts a token may go, and from which the bytes of an artifact may come.

A URL that came from outside is asked here before anything is sent to it; redirects are followed nowhere, so that it
is also the last host that is asked. In doubt the answer is no: a host that is written in an unusual way is foreign.
"""

import re
from dataclasses import dataclass

from yarl import URL

from proxy.artifacts.base import StoreRefused

_LABELS = r"((?!xn--)[a-z0-9-]{1,63}\.)+"  # what is longer, or not ASCII, may not even be a name
_RESULTS = re.compile(_LABELS + r"(actions\.githubusercontent|ghe)\.com")
_API = re.compile(r"api\.github\.com|" + _LABELS + r"ghe\.com")
_STORAGE = re.compile(_LABELS + r"blob\.core\.windows\.net")
_HTTPS = 443  # the port at which GitHub's hosts are trusted


class Untrusted(StoreRefused):
    """A host that nobody vouches for; the message says how to."""


@dataclass(frozen=True, slots=True)
class TrustedHosts:
    """GitHub's hosts by https, and those that were named (`host` or `host:port`, lower case), by http too.

    `named` is what `RELAY_TRUSTED_HOSTS` has, or what stands for it where it is not set.
    """

    hosts: frozenset[str]
    named: tuple[str, ...] = ()

    def check_origin(self, origin: URL) -> None:
        """Refuse a results service that is neither GitHub's nor named."""
        if not (_is_below(origin, _RESULTS) or self._names(origin)):
            raise Untrusted(
                f"its results URL is not that of a GitHub results service; if it is yours, set {self._line(origin)}"
            )

    def check_api(self, api: URL) -> None:
        """Refuse a REST API that is neither GitHub's nor named."""
        if not (_is_below(api, _API) or self._names(api)):
            raise Untrusted(f"its API is not that of GitHub; if it is yours, set {self._line(api)}")

    def check_signed(self, url: URL, origin: URL | None) -> None:
        """Refuse a signed URL that leads elsewhere than to GitHub's storage, the results service, or a named host."""
        here = (url.scheme, _place(url))
        is_at_origin = origin is not None and _is_plain(url) and here == (origin.scheme, _place(origin))
        if not (_is_below(url, _STORAGE) or self._names(url) or is_at_origin):
            raise Untrusted(
                f"the artifact service points to a host that is not trusted; if you trust it, set {self._line(url)}"
            )

    def _names(self, url: URL) -> bool:
        return _is_plain(url) and bool({_host(url), _place(url)} & self.hosts)

    def _line(self, url: URL) -> str:
        """Write the setting that would let this host in, with those that it lets in already."""
        return f"RELAY_TRUSTED_HOSTS={','.join([*self.named, _place(url)])}"


def _is_plain(url: URL) -> bool:
    """Return whether this is a URL with a host, over HTTP, and without credentials."""
    return url.scheme in {"http", "https"} and bool(url.raw_host) and url.raw_user is None and url.raw_password is None


def _is_below(url: URL, domain: re.Pattern[str]) -> bool:
    return _is_plain(url) and url.scheme == "https" and url.port == _HTTPS and bool(domain.fullmatch(_host(url)))


def _host(url: URL) -> str:
    return (url.raw_host or "").lower()


def _place(url: URL) -> str:
    """Return `host:port`, with brackets around the address of IPv6."""
    host = _host(url)
    return f"[{host}]:{url.port}" if ":" in host else f"{host}:{url.port}"
