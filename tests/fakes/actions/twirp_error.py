"""Errors of the results service, by the codes of the protocol."""

_STATUS = {
    "malformed": 400,
    "invalid_argument": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "bad_route": 404,
    "already_exists": 409,
    "internal": 500,
}

NAME_TAKEN = "an artifact with this name already exists on the workflow run"
NOT_FOUND = "artifact not found"
BAD_MIME_TYPE = "mime_type a valid mime_type is required for this artifact version"


class TwirpError(Exception):
    """A refusal; each flavour writes it in its own way."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = _STATUS[code]


class Panic(Exception):
    """The server falls over: the connection closes without an answer."""
