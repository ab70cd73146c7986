"""Why an upstream did not give what it was asked for."""

from proxy.errors import Denied


class UpstreamFailed(Denied):
    """An upstream cannot be reached, refuses, or sends what it should not; the message names it."""


class Refused(UpstreamFailed):
    """An upstream does not give an image away, perhaps because it has none of this name."""


class WrongBytes(UpstreamFailed):
    """What an upstream sent is not what it was asked for."""
