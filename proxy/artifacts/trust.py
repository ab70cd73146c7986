"""To which hosts a token may go, and from which the bytes of an artifact may come."""

from dataclasses import dataclass

from yarl import URL

_RESULTS = (".actions.githubusercontent.com", ".ghe.com")
_STORAGE = ".blob.core.windows.net"


class Untrusted(Exception):
    """A host that nobody vouches for; the message says how to."""


@dataclass(frozen=True, slots=True)
class Trust:
    """GitHub's hosts by https, and those that `RELAY_TRUSTED_HOSTS` names (`host` or `host:port`), by http too."""

    hosts: frozenset[str]

    def check_origin(self, origin: URL) -> None:
        """Refuse a results service that is neither GitHub's nor named."""
        if not (_is_below(origin, _RESULTS) or self._names(origin)):
            raise Untrusted(
                f"{origin.host} is no results service of GitHub; "
                f"if it is yours, set RELAY_TRUSTED_HOSTS={_place(origin)}"
            )

    def check_signed(self, url: URL, origin: URL | None) -> None:
        """Refuse a signed URL that leads elsewhere than to GitHub's storage, the results service, or a named host."""
        if not (_is_below(url, (_STORAGE,)) or url.origin() == origin or self._names(url)):
            raise Untrusted(
                f"the artifact service sends to {url.host}, which is not trusted; "
                f"if it is right, set RELAY_TRUSTED_HOSTS={_place(url)}"
            )

    def _names(self, url: URL) -> bool:
        return bool({url.host, _place(url)} & self.hosts)


def _is_below(url: URL, domains: tuple[str, ...]) -> bool:
    return url.scheme == "https" and (url.host or "").lower().endswith(domains) and url.port == 443  # noqa: PLR2004


def _place(url: URL) -> str:
    return f"{url.host}:{url.port}"
