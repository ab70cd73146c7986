"""Where the relay listens. No dependency is imported here, so that a health check starts in an instant."""

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

ENVIRONMENT: Mapping[str, str] = os.environ  # noqa: TID251 - the one place where it is read
PORT = 5000  # what every example in the field uses for a registry on localhost
HOSTS = ("127.0.0.1", "::1")  # loopback of both families: `localhost` means either, depending on the client
_LAST_PORT = 65535  # of TCP
_HUB = "docker.io"
_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_INJECTED = re.compile(r"RELAY_(\w+_)?(SERVICE|PORT)_\w+")
_PLACE = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*)(:[0-9]{1,5})?")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]*).*", re.IGNORECASE)
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://")


def is_injected(name: str, value: str) -> bool:
    """Return whether Kubernetes (or `docker --link`) made this variable, for a Service called relay."""
    return bool(_INJECTED.fullmatch(name.upper()) or _INJECTED_VALUE.match(value))


def has_port(place: str) -> bool:
    """Return whether the port behind a host, if there is one, is one of TCP."""
    port = re.search(r":([0-9]+)$", place.rpartition("]")[2])
    return port is None or int(port[1]) <= _LAST_PORT


def _is_place(text: str) -> bool:
    return bool(_PLACE.fullmatch(text)) and has_port(text)


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return addresses separated by commas; `localhost` is both loopback addresses. Raise ValueError."""
    hosts: list[str] = []
    for part in text.split(","):
        word = _unbracketed(part.strip())
        try:
            hosts += HOSTS if word == "localhost" else [str(ipaddress.ip_address(word))]
        except ValueError as error:
            example = f"{word!r} is not an address; write for example 127.0.0.1,::1"
            raise ValueError(_apart(part.strip()) or example) from error
    return tuple(dict.fromkeys(hosts))


def parse_port(text: str) -> int:
    """Return a port. Raise ValueError."""
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or int(text) > _LAST_PORT:
        raise ValueError(_apart(text) or f"{text[:60]!r} is not a port; write a number up to 65535, such as 5000")
    return int(text)


def parse_relay(text: str) -> str:
    """Return the host by which a program reaches a relay: a name, or the first of the addresses. Raise ValueError."""
    word = text.strip().lower()
    named = _PLACE.fullmatch(word)
    try:
        return reachable(parse_hosts(word))
    except ValueError:
        if named is None or named[3] or word[:1] == "[" or re.fullmatch(r"[\d.]+", word):
            raise ValueError(_apart(word) or f"{word[:60]!r} is not a host; write for example localhost") from None
        return word


def _unbracketed(text: str) -> str:
    """Return an address of IPv6 without the brackets around it."""
    return text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text


def _apart(text: str) -> str:
    """Return how to write a URL, or `host:port`, where only a part of it is wanted; empty for other text."""
    url = _URL.fullmatch(text)
    place = _PLACE.fullmatch((url[1] if url else text).lower())
    if place is None or not (url or place[3]):
        return ""
    how = f"host and port apart: --host {place[1]} --port {place[3][1:]}" if place[3] else f"the host alone: {place[1]}"
    return f"{text[:60]!r} {'is a URL' if url else 'has a port'}; write {how}"


def parse_places(text: str) -> tuple[str, ...]:
    """Return other hosts (`host` or `host:port`) separated by commas, in lower case. Raise ValueError."""
    places: list[str] = []
    for word in filter(None, (part.strip() for part in text.lower().split(","))):
        try:
            places.append(str(ipaddress.ip_address(_unbracketed(word))))
        except ValueError:
            if not _is_place(word):
                raise ValueError(f"{word[:60]!r} is not a host or host:port; write for example gitea:3000") from None
            places.append(word)
    return tuple(dict.fromkeys(places))


def parse_upstreams(text: str) -> tuple[str, ...]:
    """Return registries separated by commas: hosts, or `host=address` where another host answers. Raise ValueError."""
    given: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in text.lower().split(","))):
        named, equals, address = word.partition("=")
        host = _of_hub(named)
        is_named = host == "localhost" or not {".", ":"}.isdisjoint(host)  # else names of images have it as a folder
        if not (is_named and _is_place(host)) or (equals and not _is_place(address)):
            raise ValueError(f"{word[:60]!r} is not a registry; write for example docker.io,ghcr.io")
        given[host] = f"{host}{equals}{address}"
    return tuple(given.values())


def parse_logins(text: str) -> dict[str, tuple[str, str]]:
    """Return user and password by host, of words such as `ghcr.io=user:token`. Raise ValueError, which shows none."""
    logins: dict[str, tuple[str, str]] = {}
    for word in text.split():
        host, _, login = word.partition("=")
        user, colon, password = login.partition(":")
        if not (_is_place(host.lower()) and user and colon and password):
            raise ValueError("should be HOST=USER:PASSWORD, one on a line")
        logins[_of_hub(host.lower())] = user, password
    return logins


def _of_hub(host: str) -> str:
    """Return the host of a registry by the name that images have: Docker Hub's has others too."""
    return _HUB if host in _HUB_ALIASES else host


def reachable(hosts: tuple[str, ...]) -> str:
    """Return the host by which a program on this machine reaches a relay that listens there."""
    return _LOOPBACK.get(hosts[0], hosts[0])


class Found(NamedTuple):
    """Where a relay is, and which options and variables say so; none of the defaults."""

    host: str
    port: int
    said: tuple[str, ...] = ()


def find_relay(host: str | None, port: str | None, environment: Mapping[str, str] = ENVIRONMENT) -> Found:
    """Return where a relay is by these options, or else by this environment. Raise ValueError."""
    given = {name.upper(): value for name, value in environment.items() if not is_injected(name, value)}
    said = [
        option if value is not None else variable
        for option, value, variable in (("--host", host, "RELAY_HOST"), ("--port", port, "RELAY_PORT"))
        if value is not None or variable in given
    ]
    if host is None:
        reached = reachable(parse_hosts(given["RELAY_HOST"])) if "RELAY_HOST" in given else HOSTS[0]
    else:
        reached = parse_relay(host)
    return Found(reached, parse_port(given.get("RELAY_PORT", str(PORT)) if port is None else port), tuple(said))


def unreached(place: Found, *, unknown: bool) -> str:
    """Return a sentence: no relay answers there, and what to do; `unknown`: since there is no host of this name."""
    if unknown:
        return f"there is no host {place.host!r}, which {place.said[0]} names"
    check = f"check {' and '.join(place.said)}" if place.said else "say where it is: --host, --port"
    start = f"image-relay serve{f' --port {place.port}' if place.port != PORT else ''}"
    return f"no relay answers at {place.host} port {place.port}; start it with: {start}, or {check}"
