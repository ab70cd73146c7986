"""Why an upstream did not give what it was asked for."""

from collections.abc import Mapping

from proxy.artifacts.retry import RetryableError, retry_after
from proxy.errors import Denied

_LIMITED = 60.0  # seconds for which a registry is left alone that does not say how long
_LONGEST = 86_400.0  # seconds, whatever it says


class UpstreamFailed(Denied):
    """An upstream cannot be reached, refuses, or sends what it should not; the message names it."""


class UpstreamRefused(UpstreamFailed):
    """An upstream does not give an image away, perhaps because it has none of this name."""


class LoopDetected(UpstreamFailed):
    """A relay is asked for what it asks for itself (RFC 5842, 7.2)."""

    status = 508


class WrongBytes(UpstreamFailed):
    """What an upstream sent is not what it was asked for."""


class Limited(RetryableError):
    """A registry, or its token server, accepts no more requests for some time."""


def limited(headers: Mapping[str, str]) -> Limited:
    """Return the error for an answer that there were too many requests."""
    return Limited("accepts no more requests", retry_after(headers, _LIMITED, _LONGEST))
