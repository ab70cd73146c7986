"""Write the summary of a job in Markdown, as GitHub shows it on the page of a run.

Text from outside appears only in code spans, and the picture has only numbers and our own words. Each part is bounded,
so that the whole stays below the megabyte that GitHub accepts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from proxy.catalog.volume import Volume
from proxy.reporting.history import Moved, Refusal
from proxy.text import code, counted, format_duration, format_size

_ROWS = 100  # of each table, at most
_LINES = 10  # images for which there are commands to copy
_NOTHING = "-"
_PLAIN = 2  # edges of a picture that shows no more than the table
_MUCH_GZIP = 100_000_000  # bytes; a core compresses them in some three seconds
_GB = 1e9  # bytes, as GitHub counts them
_SHORT = 19  # characters of a digest: `sha256:` and twelve digits
_RIGHT = frozenset({"Size", "Stored", "New", "Reused"})
_EXPORTED = (
    "A push sent {} of layers in gzip. A build exports its layers faster with `compression=zstd`: see `docs/builds.md` "
    "of image-relay."
)
_RUN = {
    "run": "Images are read from another run: {}",
    "head": ", made of {}",
    "commit": " at {}",
    "event": " (event {})",
}


@dataclass(frozen=True, slots=True)
class Row:
    """An image as the table shows it; what is unknown is None or empty. `pull` and `load` are lines to copy."""

    reference: str
    digest: str
    pushed: bool
    origin: str = ""  # of what was pulled, if it is of another run
    platforms: Sequence[str] = ()
    size: int | None = None
    stored: int | None = None
    new: int | None = None
    reused: int | None = None
    stored_in: float | None = None
    pulled_in: float | None = None
    expires: str = ""
    pull: str = ""
    load: Sequence[str] = ()

    @property
    def pull_lines(self) -> list[str]:
        """The command that pulls, and the digest for who needs it."""
        digest = [] if self.reference.endswith(self.digest) else [f"# {self.digest}"]
        return [self.pull, *digest] if self.pull and self.pull.isprintable() else []

    @property
    def load_lines(self) -> list[str]:
        """The commands that load; none if they have line breaks, as names of artifacts and folders may."""
        return list(self.load) if all(line.isprintable() for line in self.load) else []


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a summary says.

    `place` says in our own words where images are kept, and `readers` who can pull them; `run` is the other run whose
    images are read, if it is one.
    `volume` is what all images there use together; None if that is not known. `gzip` is how
    many bytes of layers a build may have compressed, in the push that sent most of them.
    """

    place: str
    readers: str = "From this relay"
    rows: Sequence[Row] = ()
    more: int = 0  # images that are not among the rows
    volume: Volume | None = None
    deleted: int = 0
    moved: Moved = field(default_factory=Moved)
    gzip: int = 0
    run: Mapping[str, object] = field(default_factory=dict)
    pending: Sequence[str] = ()
    failed: Sequence[tuple[str, str]] = ()
    unreadable: Sequence[tuple[str, str]] = ()
    missing: Sequence[Refusal] = ()
    refused: Sequence[tuple[Refusal, int]] = ()


def write(facts: Facts) -> str:
    """Return the summary, with the result in its first line; empty if nothing has happened."""
    seen = (facts.rows, facts.deleted, facts.pending, facts.failed, facts.unreadable, facts.missing, facts.refused)
    if not any(seen):
        return ""
    happened = [  # the worst first
        (len(facts.failed), "image", "not stored"),
        (len(facts.pending), "image", "not stored yet"),
        (len(facts.unreadable), "artifact", "that cannot be read"),
        (sum(row.pushed for row in facts.rows), "image", "pushed"),
        (sum(row.pulled_in is not None for row in facts.rows), "image", "pulled"),
        (facts.deleted, "image", "deleted"),
        (facts.more, "more image", "handled before"),
        (len(facts.missing), "tag", "not found"),
        (len(facts.refused), "request", "refused"),
    ]
    result = ", ".join(f"{counted(count, noun)} {what}" for count, noun, what in happened if count)
    parts = [f"### image-relay: {result}"]
    if run := facts.run:
        parts.append("".join(text.format(code(str(run[key]))) for key, text in _RUN.items() if run.get(key)) + ".")
    parts += _images(facts)
    if facts.gzip > _MUCH_GZIP:
        parts.append(_EXPORTED.format(format_size(facts.gzip)))
    failed, unreadable = (
        [f"{code(what)}: {code(why)}" for what, why in each] for each in (facts.failed, facts.unreadable)
    )
    parts += _list("**Not stored**", failed)
    parts += _list("Not stored yet", [code(each) for each in facts.pending])
    parts += _list("**Cannot be read**, and tried again with the next pull", unreadable)
    parts += _list("Asked for, and not there", [code(each.message or each.path) for each in facts.missing])
    if refused := facts.refused:
        rows = [
            (code(f"{each.method} {each.path}"), str(each.status or _NOTHING), code(each.message), str(count))
            for each, count in refused[-_ROWS:]
        ]
        parts += ["**Refused**, or without an answer:", _table(("Request", "Status", "What was said", "Times"), rows)]
        if len(refused) > _ROWS:
            parts.append(f"{_before(len(refused) - _ROWS, 'other request', 'refused')}.")
    return "\n\n".join(parts) + "\n"


def _images(facts: Facts) -> Iterator[str]:
    """Yield the table of images, the commands that fetch them, and a picture of the bytes."""
    if not facts.rows:
        yield from _kept(facts.volume, facts.place)
        return
    shown, copied = facts.rows[-_ROWS:], facts.rows[-_LINES:]
    without = [row for row in shown if row not in copied or not row.pull_lines]
    yield _table_of(shown, facts.place, with_digest=bool(without))
    if more := facts.more + len(facts.rows) - len(shown):
        yield f"{_before(more, 'more image', 'handled')}; `GET /relay/images` lists all that are there."
    place, moved = facts.place, facts.moved
    yield from _kept(facts.volume, place)
    pulls, loads = [row.pull_lines for row in copied], [row.load_lines for row in copied]
    for title, commands in ((facts.readers, pulls), ("On your machine", loads)):
        if any(commands):
            yield f"{title}:"
            yield "\n".join(["```sh", *chain.from_iterable(commands), "```"])
    kept = [f"{format_size(count)} {what}" for count, what in ((moved.new, "new"), (moved.reused, "re-used")) if count]
    edges = [
        (moved.received, f'push(["pushes"]) -->|"{format_size(moved.received)}"| relay["image-relay"]'),
        (moved.new + moved.reused, f'relay["image-relay"] -->|"{", ".join(kept)}"| store[("{place}")]'),
        (moved.fetched, f'store[("{place}")] -->|"{format_size(moved.fetched)} read"| relay["image-relay"]'),
        (moved.sent, f'relay["image-relay"] -->|"{format_size(moved.sent)}"| pull(["pulls"])'),
    ]
    drawn = [f"  {edge}" for count, edge in edges if count]
    if moved.reused or len(drawn) > _PLAIN:
        yield "<details><summary>Where the bytes went</summary>"
        yield "\n".join(["```mermaid", "flowchart LR", *drawn, "```"])
        yield "</details>"


def _kept(volume: Volume | None, place: str) -> Iterator[str]:
    """Yield what all images of a place use, and what deleted ones have used."""
    if volume is None:
        return
    deleted = f" Images that this job deleted had used {_gb_hours(volume.deleted)} GB-hours." if volume.deleted else ""
    if volume.count:
        images = counted(volume.count, "image") + ("" if volume.count == 1 else ", with those that were replaced")
        used = ""
        if volume.byte_hours is not None:
            so_far, daily = _gb_hours(volume.byte_hours), _gb_hours(24 * volume.size)
            used = f" So far that was {so_far} GB-hours; each day until they are deleted or expire adds {daily}."
        yield f"{format_size(volume.size)} are kept in {place}: {images}.{used}{deleted}"
    elif deleted:
        yield f"Nothing is kept in {place} any more.{deleted}"


def _table_of(rows: Sequence[Row], place: str, *, with_digest: bool) -> str:
    """Return the table of images without columns that are empty, or say what is said elsewhere.

    Digests stand beside the commands, if there is one for each image. Where all images came one way, the first line
    says it.
    """
    took = [{"stored": row.stored_in, "pulled": row.pulled_in} for row in rows]
    columns = {
        "Image": [code(row.reference) for row in rows],
        "Digest": [code(row.digest[:_SHORT]) for row in rows] if with_digest else [],
        "Platforms": [" ".join(map(code, row.platforms[:_LINES])) for row in rows],
        "Size": [_size(row.size) for row in rows],
        "Stored": [_size(row.stored) for row in rows],
        "New": [_size(row.new) for row in rows] if any(row.reused for row in rows) else [],
        "Reused": [_size(row.reused or None) for row in rows],
        "Time": [
            ", ".join(f"{what} in {format_duration(time)}" for what, time in each.items() if time is not None)
            for each in took
        ],
        "From": ["pushed here" if row.pushed else row.origin or place for row in rows]
        if len({row.pushed for row in rows}) > 1 or any(row.origin for row in rows)
        else [],
        "Expires": [row.expires for row in rows],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    return _table(list(kept), [[cell or _NOTHING for cell in cells] for cells in zip(*kept.values(), strict=True)])


def _gb_hours(byte_hours: float) -> str:
    """Write what is billed in its unit."""
    return f"{byte_hours / _GB:,.2f}" if byte_hours >= _GB / 100 else "less than 0.01"


def _before(count: int, noun: str, what: str) -> str:
    return f"{counted(count, noun)} {'was' if count == 1 else 'were'} {what} before these"


def _size(count: int | None) -> str:
    return "" if count is None else format_size(count).replace(" ", "\N{NO-BREAK SPACE}")


def _list(title: str, entries: Sequence[str]) -> Iterator[str]:
    if entries:
        yield f"{title}:"
        more = [f"… and {len(entries) - _ROWS} more; `GET /relay/health` lists them"] if len(entries) > _ROWS else []
        yield "\n".join(f"- {each}" for each in [*entries[:_ROWS], *more])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---:" if column in _RIGHT else "---" for column in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))
