"""Numbers as people read them: sizes, rates, times."""

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_KILO = 1024
_SPANS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))  # seconds


def size(count: float) -> str:
    """Write a number of bytes in the unit that suits it: `512 B`, `3.4 MiB`."""
    if round(count) < _KILO:
        return f"{count:.0f} B"
    count, exponent = count / _KILO, 0
    while round(count, 1) >= _KILO and exponent < len(_UNITS) - 1:
        count, exponent = count / _KILO, exponent + 1
    return f"{count:.1f} {_UNITS[exponent]}"


def rate(count: float, seconds: float) -> str:
    """Write how many bytes there were in a second, of what took any time."""
    return f"{size(count / seconds)}/s"


def duration(seconds: float) -> str:
    """Write how long something took: `0.52 s`, `12.3 s`, `2 min 5 s`."""
    if seconds < 10:  # noqa: PLR2004 - from here on hundredths say nothing
        return f"{seconds:.2f} s"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def span(seconds: float) -> str:
    """Write a time in its largest unit alone, and shortly: `3d`, `5m`."""
    length, unit = next((each for each in _SPANS if seconds >= each[0]), _SPANS[-1])
    return f"{int(seconds // length)}{unit}"
