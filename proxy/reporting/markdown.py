"""The summary of a job in Markdown, as GitHub shows it on the page of a run.

Text from outside stands in code spans and nowhere else; the picture has only numbers and our own words. Each part is
bounded, so that the whole stays below the megabyte that GitHub takes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.reporting.history import Moved, Refusal
from proxy.text import code, format_duration, format_size

_ROWS = 100  # of each table, at most
_LINES = 10  # images for which there are commands to copy
_NOTHING = "-"
_SHORT = 19  # characters of a digest: `sha256:` and twelve digits
_COLUMNS = ("Image", "Digest", "Platforms", "Size", "Stored", "New", "Re-used", "Time", "From", "Expires")
_RIGHT = frozenset({"Size", "Stored", "New", "Re-used"})


@dataclass(frozen=True, slots=True)
class Row:
    """One image, as the table shows it; what is unknown is None or empty."""

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
        """Yield what stands in each column."""
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
    """All that a summary says. `run`: the other run whose images are read; `place`: where they are, in our own words.

    `volume`: how many archives hold images there, and their total bytes; None where that is not known.
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
        """Return whether there is anything to tell."""
        return bool(self.rows or self.pending or self.failed or self.unreadable or self.missing or self.refused)


def write(facts: Facts) -> str:
    """Return the summary; nothing at all where nothing happened."""
    if not facts:
        return ""
    parts = ["### Images handed over by image-relay", *_images(facts), *_problems(facts)]
    return "\n\n".join(parts) + "\n"


def _images(facts: Facts) -> Iterator[str]:
    """Yield where images come from, their table, the commands that fetch them, and the picture."""
    if run := facts.run:
        said = {key: code(str(run[key])) for key in ("run", "head", "commit", "event") if run.get(key)}
        made = f", made of {said['head']}" if "head" in said else ""
        commit = f" at {said['commit']}" if "commit" in said else ""
        event = f" (event {said['event']})" if "event" in said else ""
        yield f"Images are read from another run: {said['run']}{made}{commit}{event}."
    if not facts.rows:
        yield "No image was pushed or pulled."
        return
    shown = facts.rows[-_ROWS:]
    yield _table(_COLUMNS, [list(row.cells()) for row in shown])
    if more := facts.more + len(facts.rows) - len(shown):
        yield f"{more} more images were handled before these; `GET /relay/images` lists all that are there."
    if facts.volume:
        count, held = facts.volume
        archives = "1 archive" if count == 1 else f"{count} archives, replaced ones too"
        yield f"{format_size(held)} are kept in {facts.place}: {archives}."
    # only what is one line can be copied: references, names of artifacts, and the folder of the relay may be others
    commands = [line for row in facts.rows[-_LINES:] for line in (row.pull, row.load) if line and line.isprintable()]
    if commands:
        yield "\n".join(["```sh", *commands, "```"])
    yield from _picture(facts.moved, facts.place)


def _picture(moved: Moved, place: str) -> Iterator[str]:
    kept = [f"{format_size(count)} {what}" for count, what in ((moved.new, "new"), (moved.reused, "re-used")) if count]
    edges = [
        (moved.received, f'push(["pushes"]) -->|"{format_size(moved.received)}"| relay["image-relay"]'),
        (moved.new + moved.reused, f'relay["image-relay"] -->|"{", ".join(kept)}"| store[("{place}")]'),
        (moved.fetched, f'store[("{place}")] -->|"{format_size(moved.fetched)} read"| relay["image-relay"]'),
        (moved.sent, f'relay["image-relay"] -->|"{format_size(moved.sent)}"| pull(["pulls"])'),
    ]
    if drawn := [f"  {edge}" for count, edge in edges if count]:
        yield "\n".join(["```mermaid", "flowchart LR", *drawn, "```"])


def _problems(facts: Facts) -> Iterator[str]:
    """Yield what was not stored, could not be read, was not there, or was refused."""
    failed, unreadable = (
        [f"{code(what)}: {code(why)}" for what, why in each] for each in (facts.failed, facts.unreadable)
    )
    yield from _list("**Not stored**, and tried again with the next push", failed)
    yield from _list("Not stored yet", [code(each) for each in facts.pending])
    yield from _list("**Cannot be read**, and tried again with the next pull", unreadable)
    yield from _list("Asked for, and not there", [code(each.message or each.path) for each in facts.missing])
    if refused := facts.refused:
        rows = [
            (code(f"{each.method} {each.path}"), str(each.status or _NOTHING), code(each.message), str(count))
            for each, count in refused[-_ROWS:]
        ]
        yield "**Refused**, or without an answer:"
        yield _table(("Request", "Status", "What was said", "Times"), rows)
        if len(refused) > _ROWS:
            yield f"{len(refused) - _ROWS} other requests were refused before these."


def _list(title: str, entries: Sequence[str]) -> Iterator[str]:
    if entries:
        yield f"{title}:"
        more = [f"… and {len(entries) - _ROWS} more; `GET /relay/health` lists them"] if len(entries) > _ROWS else []
        yield "\n".join(f"- {each}" for each in [*entries[:_ROWS], *more])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---:" if column in _RIGHT else "---" for column in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))
