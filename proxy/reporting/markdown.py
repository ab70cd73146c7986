"""The summary of a job in Markdown, as GitHub shows it on the page of a run.

What comes from outside stands in code spans and nowhere else; the picture has numbers and our own words alone. Each
part is bounded, so the whole stays below the megabyte that GitHub takes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from proxy.reporting.history import Moved, Refusal
from proxy.text import code, format_duration, format_size

T = TypeVar("T")

_ROWS = 100  # of each table, at most
_LINES = 10  # images for which there are commands to copy
_NOTHING = "-"
_SHORT = 19  # characters of a digest: `sha256:` and twelve digits
_COLUMNS = ("Image", "Digest", "Platforms", "Size", "Stored", "New", "Re-used", "Time", "From", "Expires")
_RIGHT = frozenset({"Size", "Stored", "New", "Re-used"})


@dataclass(frozen=True, slots=True)
class Row:
    """One image, as the table shows it; what is not known is None or empty."""

    reference: str
    digest: str
    origin: str
    platforms: Sequence[str] = ()
    size: int | None = None
    stored: int | None = None
    new: int | None = None
    reused: int | None = None
    stored_in: float | None = None
    pulled_in: float | None = None
    expires: str = ""
    pull: str = ""
    load: str = ""

    def cells(self) -> Iterator[str]:
        """Give what stands in each column."""
        yield code(self.reference)
        yield code(self.digest[:_SHORT])
        yield " ".join(map(code, self.platforms[:_LINES])) or _NOTHING
        for count in (self.size, self.stored, self.new, self.reused):
            yield _NOTHING if count is None else format_size(count)
        took = {"stored": self.stored_in, "pulled": self.pulled_in}
        yield (
            ", ".join(f"{what} in {format_duration(time)}" for what, time in took.items() if time is not None)
            or _NOTHING
        )
        yield self.origin
        yield self.expires or _NOTHING


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a summary tells. `run`: of which other run images are read; `place`: in our words, where they are.

    `volume`: how many archives hold images there, and their bytes together; None where that cannot be told.
    """

    place: str
    rows: Sequence[Row] = ()
    more: int = 0  # images that are not among the rows
    volume: tuple[int, int] | None = None
    moved: Moved = field(default_factory=Moved)
    run: Mapping[str, object] = field(default_factory=dict)
    pending: Sequence[str] = ()
    failed: Sequence[tuple[str, str]] = ()
    unreadable: Sequence[tuple[str, str]] = ()
    missing: Sequence[Refusal] = ()
    refused: Sequence[tuple[Refusal, int]] = ()

    def __bool__(self) -> bool:
        """Is there anything to tell?"""
        return bool(self.rows or self.pending or self.failed or self.unreadable or self.missing or self.refused)


def write(facts: Facts) -> str:
    """Write the summary; nothing at all where nothing happened."""
    if not facts:
        return ""
    parts = [
        ["### Images handed over by image-relay"],
        list(_run(facts.run)),
        list(_images(facts)),
        list(_commands(facts.rows)),
        list(_picture(facts)) if facts.rows else [],
        list(_not_stored(facts)),
        list(_not_read(facts.unreadable)),
        list(_not_there(facts.missing)),
        list(_refused(facts.refused)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _run(run: Mapping[str, object]) -> Iterator[str]:
    if run:
        said = {key: code(str(run[key])) for key in ("run", "head", "commit", "event") if run.get(key)}
        made = f", made of {said['head']}" if "head" in said else ""
        commit = f" at {said['commit']}" if "commit" in said else ""
        event = f" (event {said['event']})" if "event" in said else ""
        yield f"Images are read from another run: {said['run']}{made}{commit}{event}."


def _images(facts: Facts) -> Iterator[str]:
    if not facts.rows:
        yield "No image was pushed or pulled."
        return
    shown = facts.rows[-_ROWS:]
    yield from _table(_COLUMNS, [list(row.cells()) for row in shown])
    if more := facts.more + len(facts.rows) - len(shown):
        yield f"\n{more} more images were handled before these; `GET /relay/images` lists all that are there."
    if facts.volume:
        count, held = facts.volume
        archives = "1 archive" if count == 1 else f"{count} archives, replaced ones too"
        yield f"\n{format_size(held)} are kept in {facts.place}: {archives}."


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (columns, ["---:" if column in _RIGHT else "---" for column in columns], *rows):
        yield f"| {' | '.join(cells)} |"


def _commands(rows: Sequence[Row]) -> Iterator[str]:
    """Give what can be copied, if it is one line: references, names of artifacts, and the folder of the relay."""
    if lines := [line for row in rows[-_LINES:] for line in (row.pull, row.load) if line and line.isprintable()]:
        yield "```sh"
        yield from lines
        yield "```"


def _picture(facts: Facts) -> Iterator[str]:
    moved = facts.moved
    kept = [f"{format_size(count)} {what}" for count, what in ((moved.new, "new"), (moved.reused, "re-used")) if count]
    edges = [
        (moved.received, f'push(["pushes"]) -->|"{format_size(moved.received)}"| relay["image-relay"]'),
        (moved.new + moved.reused, f'relay["image-relay"] -->|"{", ".join(kept)}"| store[("{facts.place}")]'),
        (moved.fetched, f'store[("{facts.place}")] -->|"{format_size(moved.fetched)} read"| relay["image-relay"]'),
        (moved.sent, f'relay["image-relay"] -->|"{format_size(moved.sent)}"| pull(["pulls"])'),
    ]
    if drawn := [f"  {edge}" for count, edge in edges if count]:
        yield "```mermaid\nflowchart LR"
        yield from drawn
        yield "```"


def _not_stored(facts: Facts) -> Iterator[str]:
    if facts.failed:
        yield "**Not stored**, and tried again with the next push:\n"
        yield from _limited(facts.failed, lambda each: f"- {code(each[0])}: {code(each[1])}")
    if facts.pending:
        yield ("\n" if facts.failed else "") + "Not stored yet:\n"
        yield from _limited(facts.pending, lambda each: f"- {code(each)}")


def _not_read(unreadable: Sequence[tuple[str, str]]) -> Iterator[str]:
    if unreadable:
        yield "**Cannot be read**, and tried again with the next pull:\n"
        yield from _limited(unreadable, lambda each: f"- {code(each[0])}: {code(each[1])}")


def _not_there(missing: Sequence[Refusal]) -> Iterator[str]:
    if missing:
        yield "Asked for, and not there:\n"
        yield from _limited(missing, lambda each: f"- {code(each.message or each.path)}")


def _refused(refused: Sequence[tuple[Refusal, int]]) -> Iterator[str]:
    if refused:
        yield "**Refused**, or without an answer:\n"
        rows = [
            (code(f"{each.method} {each.path}"), str(each.status or _NOTHING), code(each.message), str(count))
            for each, count in refused[-_ROWS:]
        ]
        yield from _table(("Request", "Status", "What was said", "Times"), rows)
        if len(refused) > _ROWS:
            yield f"\n{len(refused) - _ROWS} other requests were refused before these."


def _limited(entries: Sequence[T], line: Callable[[T], str]) -> Iterator[str]:
    yield from map(line, entries[:_ROWS])
    if len(entries) > _ROWS:
        yield f"- … and {len(entries) - _ROWS} more; `GET /relay/health` lists them"
