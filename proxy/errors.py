"""Every failure a client may hear of, named after the codes of the specification (OCI distribution 1.1, "Error Codes").

`api` turns each into one JSON answer; no module below it knows about HTTP beyond the status that belongs to a code.
"""

from typing import ClassVar


class RegistryError(Exception):
    """A failure with a code of the specification and one sentence for the person who reads it."""

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500

    def __init__(self, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = headers or {}


class BlobUnknown(RegistryError):
    """No blob has this digest in this repository."""

    code, status = "BLOB_UNKNOWN", 404


class BlobUploadInvalid(RegistryError):
    """The upload cannot go on as asked."""

    code, status = "BLOB_UPLOAD_INVALID", 400


class BlobUploadUnknown(RegistryError):
    """No upload session has this id in this repository."""

    code, status = "BLOB_UPLOAD_UNKNOWN", 404


class ContentDamaged(RegistryError):
    """The stored bytes are not those that were pushed."""


class DigestInvalid(RegistryError):
    """A digest is malformed, of an unknown algorithm, or not that of the content."""

    code, status = "DIGEST_INVALID", 400


class ManifestBlobUnknown(RegistryError):
    """A manifest names content that is not in the repository."""

    code, status = "MANIFEST_BLOB_UNKNOWN", 400


class ManifestInvalid(RegistryError):
    """A manifest does not follow the specification."""

    code, status = "MANIFEST_INVALID", 400


class ManifestTooLarge(ManifestInvalid):
    """A manifest is larger than 4 MiB."""

    status = 413

    def __init__(self) -> None:
        super().__init__("a manifest may have 4 MiB, this one has more")


class ManifestUnknown(RegistryError):
    """No manifest has this tag or digest in this repository."""

    code, status = "MANIFEST_UNKNOWN", 404


class TarballInvalid(ManifestInvalid):
    """What was sent is no tarball of an image, or one that cannot be read."""


class NameInvalid(RegistryError):
    """A repository name does not follow the grammar."""

    code, status = "NAME_INVALID", 400


class NameUnknown(RegistryError):
    """Nothing was pushed to this repository."""

    code, status = "NAME_UNKNOWN", 404


class TagInvalid(RegistryError):
    """A tag does not follow the grammar."""

    code, status = "TAG_INVALID", 400


class PaginationNumberInvalid(RegistryError):
    """The number of results asked for is not a number."""

    code, status = "PAGINATION_NUMBER_INVALID", 400


class RangeInvalid(RegistryError):
    """A range lies outside the content, or a chunk does not follow the last one."""

    code, status = "RANGE_INVALID", 416


class SizeInvalid(RegistryError):
    """The content has not the length that was announced."""

    code, status = "SIZE_INVALID", 400


class Stalled(SizeInvalid):
    """The client has stopped in the middle of a body."""

    status = 408


class Unauthorized(RegistryError):
    """The password is missing or wrong."""

    code, status = "UNAUTHORIZED", 401


class Denied(RegistryError):
    """The request is understood and refused; the message says what to do."""

    code, status = "DENIED", 403


class Misdirected(Denied):
    """The Host header names a host that this relay does not serve (RFC 9110, 15.5.20)."""

    status = 421


class SessionRefused(Denied):
    """What was handed over is no session that can be used."""

    status = 400


class SessionTaken(Denied):
    """A session of another run is in use."""

    status = 409


class StillUnderWay(RegistryError):
    """The work takes longer than clients wait for an answer: the same request, repeated, joins it."""

    status = 307


class Unsupported(RegistryError):
    """The operation is not possible here."""

    code, status = "UNSUPPORTED", 405


class ParameterInvalid(Unsupported):
    """A request has a parameter that would be ignored, or one with a value that there is not."""

    status = 400


class ProtocolUnsupported(Unsupported):
    """The request is of another version of the registry API."""

    status = 404


class TooManyRequests(RegistryError):
    """A limit on open uploads or the like is reached; try again later."""

    code, status = "TOOMANYREQUESTS", 429


def reason_of(error: RegistryError | OSError) -> str:
    """Return why something failed that no client waits for, in words for the log."""
    return error.message if isinstance(error, RegistryError) else error.strerror or "no answer in time"
