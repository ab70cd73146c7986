"""Requests to the results service, read from proto3-JSON as strictly as the flavour reads them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.fakes.actions import kinds
from tests.fakes.actions.twirp_error import TwirpError

_IDS = ("workflow_run_backend_id", "workflow_job_run_backend_id")
_KEYS = {
    kinds.CREATE: (*_IDS, "name", "expires_at", "version", "mime_type"),
    kinds.FINALIZE: (*_IDS, "name", "size", "hash"),
    kinds.LIST: (*_IDS, "name_filter", "id_filter"),
    kinds.SIGN: (*_IDS, "name"),
    kinds.DELETE: (*_IDS, "name"),
}
_NEW_KEYS = {"mime_type"}  # what servers that are older than version 7 of the protocol do not know
_INT64 = {"size", "id_filter"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The fields of all requests; what one did not carry has proto3's default."""

    run: str = ""
    job: str = ""
    name: str = ""
    version: int = 0
    mime_type: str | None = None
    expires_at: datetime | None = None
    size: int = 0
    hash: str | None = None
    name_filter: str | None = None
    id_filter: int | None = None


def parse(method: str, document: Any, refuse_unknown: bool) -> Asked:
    """Read a request; a value of the wrong type is malformed, and an unknown key is too where `refuse_unknown`."""
    if not isinstance(document, dict):
        raise TwirpError("malformed", "the body is no JSON object")
    known = set(_KEYS[method])
    if refuse_unknown and (strange := set(document) - (known - _NEW_KEYS)):
        raise TwirpError("internal", f"unknown field {sorted(strange)[0]}")
    read: dict[str, Any] = {_field(key): _value(key, document[key]) for key in document if key in known}
    return Asked(**read)


def _field(key: str) -> str:
    return {_IDS[0]: "run", _IDS[1]: "job"}.get(key, key)


def _value(key: str, value: Any) -> object:
    if key == "version":
        return _checked(key, value, isinstance(value, int) and not isinstance(value, bool))
    _checked(key, value, isinstance(value, str))
    if key in _INT64:
        _checked(key, value, value.isascii() and value.isdecimal())
        return int(value)
    return _moment(key, value) if key == "expires_at" else value


def _moment(key: str, value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise TwirpError("malformed", f"{key} is no RFC 3339 time") from None
    _checked(key, value, moment.tzinfo is not None)
    return moment


def _checked(key: str, value: Any, good: bool) -> Any:
    if not good:
        raise TwirpError("malformed", f"{key} has the wrong type")
    return value
