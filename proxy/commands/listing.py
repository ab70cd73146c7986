"""`list`: the images of a relay as a table. Nothing is cut: what finds no room is on a line of its own."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.commands.relay import Bytes, CommandFailed, Place, RelayClient
from proxy.text import format_size, format_span, safe_text, sanitize

_PATIENCE = 100.0  # seconds; a relay that lists a run asks a service, which may not be there for a while
_SHORT = 12  # hexadecimal digits of a digest, as docker shows them
_COLUMNS = ("REFERENCE", "DIGEST", "PLATFORMS", "SIZE", "STORED", "AGE", "EXPIRES", "STATE")
_RIGHT = frozenset({"SIZE", "STORED"})
_STYLES = {"durable": "green", "failed": "bold red", "unreadable": "bold red"}  # anything else is on its way
_ENDLESS = 10_000  # columns of a line that nobody looks at
_BLIND = {
    "none": "images cannot be read: the relay has no session yet, which the action OWNER/image-relay@v1 hands over",
    "expired": "images cannot be read: the session of the relay has expired",
}


class _Image(BaseModel):
    """An image as `GET /relay/images` describes it; what is not stored yet lacks some fields."""

    references: list[str]
    digest: str
    state: str
    platforms: list[str] = []
    size: Bytes | None = None
    stored: Bytes | None = None
    created: AwareDatetime | None = None
    expires: AwareDatetime | None = None
    problem: str = ""

    def row(self, reference: str, now: datetime, *, full: bool, between: str) -> dict[str, str]:
        """Return what each column shows for one of the references, with `between` between platforms."""
        name, at, digest = reference.partition("@")
        left = (self.expires - now).total_seconds() if self.expires else None
        expires = "-" if left is None else format_span(left) if left > 0 else "over"
        return {
            "REFERENCE": sanitize(reference if full else name + at + _cut(digest)),
            "DIGEST": sanitize(self.digest if full else _cut(self.digest).partition(":")[2]),
            "PLATFORMS": between.join(map(safe_text, self.platforms)) or "-",
            "SIZE": "-" if self.size is None else format_size(self.size),
            "STORED": "-" if self.stored is None else format_size(self.stored),
            "AGE": "-" if self.created is None else format_span(max(0.0, (now - self.created).total_seconds())),
            "EXPIRES": expires,
            "STATE": safe_text(self.state),
        }


class _Images(BaseModel):
    images: list[_Image]


class _Health(BaseModel):
    ready: bool = True
    session: str = "none"


async def show(place: Place, *, full: bool, patience: float = _PATIENCE) -> None:
    """Print what is wrong with some images, and a line for each reference; `full`: with whole digests.

    Raise CommandFailed if the relay cannot read.
    """
    async with RelayClient(place, patience) as relay:
        async with relay.ask("GET", "/relay/images") as answer:
            images = (await relay.read(answer, _Images)).images
        if not images:
            async with relay.ask("GET", "/relay/health") as answer:
                health = await relay.read(answer, _Health)
            if not health.ready:
                raise CommandFailed(_BLIND.get(health.session, "images cannot be read: the log of the relay says why"))
            print("nothing is stored yet", file=sys.stderr)
    for image in (each for each in images if each.problem):
        print(sanitize(f"{', '.join(image.references)}: {image.problem}"), file=sys.stderr)
    is_terminal, now = sys.stdout.isatty(), datetime.now(UTC)
    between = "\n" if is_terminal else ","
    entries = [(image, reference) for image in images for reference in image.references]
    rows = [image.row(reference, now, full=full, between=between) for image, reference in entries]
    expiring = any(image.expires for image in images)  # in a folder nothing does
    columns = [name for name in _COLUMNS if expiring or name != "EXPIRES"]
    if not is_terminal:
        print("\n".join(_aligned(columns, rows)))
        return
    console, table = Console(width=_ENDLESS, highlight=False), _table(columns, rows)
    if console.measure(table).maximum <= Console().width:
        print("\n".join(_lines(console, table)))
        return
    # too wide: long columns have lines of their own, which the terminal may wrap
    own = ("REFERENCE", "DIGEST") if full else ("REFERENCE",)
    flat = [{name: text.replace("\n", ",") for name, text in row.items()} for row in rows]
    rest = _lines(console, _table([name for name in columns if name not in own], flat))
    for row, line in zip([dict(zip(columns, columns, strict=True)), *flat], rest, strict=True):
        print(*(row[name] for name in own), line, sep="\n  ")


def _aligned(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the lines of a table that a program reads; rich would take a millisecond for each of them."""
    lines = [dict(zip(columns, columns, strict=True)), *rows]
    formats = {name: f"{'>' if name in _RIGHT else '<'}{max(len(line[name]) for line in lines)}" for name in columns}
    cells = ([format(line[name], formats[name]) for name in columns] for line in lines)
    return ["  ".join(each).rstrip() for each in cells]


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=True)
    for row in rows:
        style = _STYLES.get(row["STATE"], "yellow")
        table.add_row(*(Text(row[name], style if name == "STATE" else "") for name in columns))
    return table


def _lines(console: Console, table: Table) -> list[str]:
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def _cut(digest: str) -> str:
    algorithm, colon, value = digest.partition(":")
    return algorithm + colon + value[:_SHORT]
