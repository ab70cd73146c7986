"""Where the docker command finds its engine: in DOCKER_HOST, in a context, or at a socket.

As `resolveContextName` and `ParseHost` of the Go module docker/cli do; the folder is DOCKER_CONFIG, else `~/.docker`.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from config import address

SOCKET = Path("/var/run/docker.sock")
_OF_DESKTOP = ".docker/run/docker.sock"  # below the home; Docker Desktop makes the other one only where it may
_PLAIN, _TLS = 2375, 2376  # ports of the engine


class ContextUnusable(Exception):
    """A context is named that does not exist or cannot be read; the message says which."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of an engine, what named it, and with TLS the folder of `ca.pem`, `cert.pem` and `key.pem`."""

    url: str
    source: str
    certificates: Path | None = None
    verify: bool = True


class _ConfigFile(BaseModel):
    current: str = Field("", alias="currentContext")


class _Engine(BaseModel):
    host: str = Field("", alias="Host")
    skip_verify: bool = Field(False, alias="SkipTLSVerify")


class _Endpoints(BaseModel):
    docker: _Engine = _Engine()


class _Context(BaseModel):
    endpoints: _Endpoints = Field(_Endpoints(), alias="Endpoints")


def endpoint(environment: Mapping[str, str] = address.ENVIRONMENT) -> Endpoint:
    """Return where the docker command would find its engine. Raise ContextUnusable."""
    home = Path(environment.get("HOME") or "/")
    folder = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    if host := environment.get("DOCKER_HOST"):
        verify = bool(environment.get("DOCKER_TLS_VERIFY"))
        certificates = Path(environment.get("DOCKER_CERT_PATH") or folder)
        has_tls = verify or bool(environment.get("DOCKER_TLS"))
        return _endpoint(host, "DOCKER_HOST", certificates if has_tls else None, verify=verify)
    name = environment.get("DOCKER_CONTEXT") or _current_context(folder / "config.json")
    if name and name != "default":
        return _of_context(folder / "contexts", name)
    of_desktop = home / _OF_DESKTOP
    socket = of_desktop if not os.path.exists(SOCKET) and os.path.exists(of_desktop) else SOCKET  # noqa: PTH110 - never raises
    return Endpoint(f"unix://{socket}", str(socket))


def _current_context(file: Path) -> str:
    """Return the name of the context in use; like docker, go on without one if the file cannot be read."""
    try:
        return _ConfigFile.model_validate_json(file.read_bytes()).current
    except (OSError, ValueError):
        return ""


def _of_context(contexts: Path, name: str) -> Endpoint:
    identity = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    source = f"docker's context {name!r}"
    try:
        engine = _Context.model_validate_json(
            (contexts / "meta" / identity / "meta.json").read_bytes()
        ).endpoints.docker
    except FileNotFoundError as error:
        raise ContextUnusable(f"{source} does not exist; docker context ls shows what there is") from error
    except (OSError, ValueError) as error:
        raise ContextUnusable(f"{source} cannot be read below {contexts}") from error
    certificates = contexts / "tls" / identity / "docker"
    has_tls = engine.skip_verify or os.path.isdir(certificates)  # noqa: PTH112 - never raises
    host = engine.host or f"unix://{SOCKET}"
    return _endpoint(host, source, certificates if has_tls else None, verify=not engine.skip_verify)


def _endpoint(host: str, source: str, certificates: Path | None, *, verify: bool) -> Endpoint:
    """Return an endpoint of which `host` may be `unix://PATH`, `tcp://HOST[:PORT]` or `HOST:PORT`."""
    scheme, separator, rest = host.strip().partition("://")
    if not separator:
        scheme, rest = "tcp", scheme
    if scheme == "unix":
        return Endpoint(f"unix://{rest or SOCKET}", source)
    if scheme != "tcp":
        return Endpoint(f"{scheme}://{rest}", source, certificates, verify)
    place, slash, path = rest.partition("/")
    name, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        name, port = place, ""
    number = port or str(_TLS if certificates else _PLAIN)
    secure = "https" if certificates else "http"
    return Endpoint(f"{secure}://{name or 'localhost'}:{number}{slash}{path}", source, certificates, verify)
