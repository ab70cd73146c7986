"""Which artifact names the service takes."""

_FORBIDDEN = '":<>|*?\r\n\\/'
_LONGEST = 256  # characters


def objection_to(name: str) -> str | None:
    """Return the text of the refusal, or None if the name is good."""
    if not 1 <= len(name) <= _LONGEST:
        return f"name invalid length for artifact name: must be between 1 and {_LONGEST} characters"
    if any(character in _FORBIDDEN for character in name):
        return "name contains a character that is not allowed in an artifact name"
    return None
