"""The registries that may be asked, and which repository of them a request means."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yarl import URL

from proxy.oci.names import Name, split_host
from proxy.oci.references import is_loopback
from proxy.upstreams.failures import LoopDetected

HUB = "docker.io"
_HUB_NAMES = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
_HUB_ADDRESS = "registry-1.docker.io"
_OFFICIAL = "library/"
_VIA = re.compile(r"1\.1 image-relay-[0-9a-f]{16}")
_BETWEEN = ", "
_MOST_RELAYS = 16  # by which a request may come


@dataclass(frozen=True, slots=True)
class Login:
    """User and password for a registry."""

    user: str
    password: str = field(repr=False)


class AddressUnusable(Exception):
    """Nothing is asked at an address that an upstream names; the message says why."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A registry: its host as names of images have it, the origin of its URLs, and the login if there is one."""

    host: str
    origin: URL
    login: Login | None = field(default=None, repr=False)

    def address(self, text: str, base: URL | None = None) -> URL:
        """Return an address that this registry names, perhaps relative to another one. Raise AddressUnusable."""
        try:
            url = URL(text, encoded=base is not None)
            url = base.join(url) if base else url
            (url.host or "").encode("idna")  # as the resolver does
        except ValueError:
            raise AddressUnusable("it is not valid") from None
        if not url.host:
            raise AddressUnusable("it has no host")
        if url.scheme not in {"https", self.origin.scheme}:
            raise AddressUnusable("it has to be https")
        if url.user or url.password:
            raise AddressUnusable("it has a login in it")
        return url


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository of an upstream. It is `implied` where the client has not named the registry.

    `via`: the relays by which a request for it has come, this one last (RFC 9110, 7.6.3).
    """

    upstream: Upstream
    path: str
    implied: bool = field(default=False, compare=False)
    via: str = field(default="", compare=False)

    @property
    def is_for_relay(self) -> bool:
        """Whether another relay, or this one, asks for it."""
        return _BETWEEN in self.via

    def check_circle(self) -> None:
        """Raise LoopDetected if this relay has asked for it already, or too many others have."""
        relays = self.via.split(_BETWEEN)
        if relays.count(relays[-1]) > 1 or len(relays) > _MOST_RELAYS:
            raise LoopDetected("this relay asks itself; name the address of another registry in RELAY_UPSTREAMS")

    @property
    def name(self) -> Name:
        """The repository with its host, which is `docker.io` for those of Docker Hub."""
        return Name(str(self))

    def __str__(self) -> str:
        return f"{self.upstream.host}/{self.path}"


class Upstreams:
    """The registries that may be asked; nothing else ever is."""

    def __init__(self, hosts: Sequence[str] = (), logins: Mapping[str, tuple[str, str]] | None = None) -> None:
        """`hosts` are those of names, or `host=address` where another host answers for it; `logins` are by host."""
        self._upstreams: dict[str, Upstream] = {}
        self._via = f"1.1 image-relay-{secrets.token_hex(8)}"
        for text in hosts:
            host, _, address = text.partition("=")
            place = address or (_HUB_ADDRESS if host == HUB else host)
            scheme = "http" if is_loopback(place) else "https"  # as Docker does
            login = Login(*logins[host]) if logins and host in logins else None
            self._upstreams[host] = Upstream(host, URL(f"{scheme}://{place}"), login)

    def __bool__(self) -> bool:
        return bool(self._upstreams)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts, as names of images have them."""
        return tuple(self._upstreams)

    def named(self, path: str, registry: str) -> Remote | None:
        """Return the repository of a path below `/v2/`, in a registry (`?ns=`) or below its first part."""
        host, path = (registry, path) if registry else split_host(path)
        host = host.lower()
        upstream = self._upstreams.get(HUB if host in _HUB_NAMES else host)
        if upstream is None:
            return None
        is_short = upstream.host == HUB and "/" not in path
        return Remote(upstream, _OFFICIAL + path if is_short else path)

    def of_hub(self, path: str) -> Remote | None:
        """Return the repository of Docker Hub that a path without a registry may mean; None unless it may be asked."""
        upstream = self._upstreams.get(HUB)
        return Remote(upstream, path, implied=True) if upstream else None

    def via(self, told: str) -> str:
        """Return the header `Via` for what is asked because of a request with that of `told`."""
        return _BETWEEN.join((*_VIA.findall(told), self._via))


def is_official(path: str) -> bool:
    """Return whether a path is that of an official image of Docker Hub, in full."""
    return path.startswith(_OFFICIAL) and path.count("/") == 1
