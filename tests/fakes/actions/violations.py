"""What a client must never do, although a lenient server lets it pass."""

import re

_ABSOLUTE = re.compile(r"bytes=\d+-\d*")


class Violations(list[str]):
    """What was done nevertheless; a test fails when it is not empty at its end."""

    def record(self, complaint: str) -> None:
        self.append(complaint)


def range_violation(header: str | None) -> str | None:
    """Complain about any Range but a single absolute one: for a suffix range Azure sends the whole blob."""
    if header is None or _ABSOLUTE.fullmatch(header):
        return None
    return f"the range {header!r} is not a single absolute one"
