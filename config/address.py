"""Where the relay listens. No dependency is imported here, so that a health check starts in an instant."""

import ipaddress
import os
import re
from collections.abc import Mapping

ENVIRONMENT: Mapping[str, str] = os.environ  # noqa: TID251 - the one place where it is read
PORT = 5000  # what every example in the field uses for a registry on localhost
HOSTS = ("127.0.0.1", "::1")  # loopback of both families: `localhost` means either, depending on the client
_LAST_PORT = 65535  # of TCP
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_INJECTED = re.compile(r"RELAY_(\w+_)?(SERVICE|PORT)_\w+")
_PLACE = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*)(:[0-9]{1,5})?")
_INJECTED_VALUE = re.compile(r"(tcp|udp|sctp)://")


def ensure_home() -> None:
    """Let there be a HOME, as engines do: a uid without a passwd entry has no other, and libraries want one."""
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - pathlib's raises
        os.environ["HOME"] = "/"  # noqa: TID251 - of this process alone


def spare_loopback_from_proxies() -> None:
    """Let no proxy of the environment be asked for this machine: HTTP_PROXY is often set without NO_PROXY."""
    given = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))  # noqa: TID251 - as urllib does
    if given.strip() != "*":
        os.environ["no_proxy"] = ",".join(filter(None, [given, "localhost", *HOSTS]))  # noqa: TID251 - of this process


def is_injected(name: str, value: str) -> bool:
    """Return whether Kubernetes (or `docker --link`) made this variable, for a Service called relay."""
    return bool(_INJECTED.fullmatch(name.upper()) or _INJECTED_VALUE.match(value))


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return addresses separated by commas; `localhost` is both loopback addresses. Raise ValueError."""
    hosts: list[str] = []
    for part in text.split(","):
        word = part.strip().removeprefix("[").removesuffix("]")
        try:
            hosts += HOSTS if word == "localhost" else [str(ipaddress.ip_address(word))]
        except ValueError as error:
            raise ValueError(f"{word!r} is not an address; write for example 127.0.0.1,::1") from error
    return tuple(dict.fromkeys(hosts))


def parse_places(text: str) -> tuple[str, ...]:
    """Return other hosts (`host` or `host:port`) separated by commas, in lower case. Raise ValueError."""
    places: list[str] = []
    for word in filter(None, (part.strip() for part in text.lower().split(","))):
        try:
            places.append(str(ipaddress.ip_address(word.removeprefix("[").removesuffix("]"))))
        except ValueError:
            if not _PLACE.fullmatch(word):
                raise ValueError(f"{word[:60]!r} is not a host or host:port; write for example gitea:3000") from None
            places.append(word)
    return tuple(dict.fromkeys(places))


def parse_upstreams(text: str) -> tuple[str, ...]:
    """Return registries separated by commas: hosts, or `host=address` where another host answers. Raise ValueError."""
    given: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in text.lower().split(","))):
        host, equals, address = word.partition("=")
        if not _PLACE.fullmatch(host) or (equals and not _PLACE.fullmatch(address)):
            raise ValueError(f"{word[:60]!r} is not a registry; write for example docker.io,ghcr.io")
        given[host] = word
    return tuple(given.values())


def parse_logins(text: str) -> dict[str, tuple[str, str]]:
    """Return user and password by host, of words such as `ghcr.io=user:token`. Raise ValueError, which shows none."""
    logins: dict[str, tuple[str, str]] = {}
    for word in text.split():
        host, _, login = word.partition("=")
        user, colon, password = login.partition(":")
        if not (_PLACE.fullmatch(host.lower()) and user and colon and password):
            raise ValueError("should be HOST=USER:PASSWORD, one on a line")
        logins[host.lower()] = user, password
    return logins


def reachable(hosts: tuple[str, ...], port: int) -> tuple[str, int]:
    """Return the host and port by which a program on this machine reaches a relay that listens there."""
    return _LOOPBACK.get(hosts[0], hosts[0]), port


def from_environment(environment: Mapping[str, str] = ENVIRONMENT) -> tuple[str, int]:
    """Return the address of the relay that this environment describes; raise ValueError if it is none."""
    given = {name: value for name, value in environment.items() if not is_injected(name, value)}
    hosts = parse_hosts(given["RELAY_HOST"]) if "RELAY_HOST" in given else HOSTS
    port = given.get("RELAY_PORT", str(PORT))
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > _LAST_PORT:
        raise ValueError(f"{port[:60]!r} is not a port; write for example 5000")
    return reachable(hosts, int(port))
