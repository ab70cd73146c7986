"""The plot of the page: a bar for each flow with its median, and a line from the fastest round to the slowest.

It brings a background of its own for light and for dark screens, since who shows it may be set otherwise than the page.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from xml.sax.saxutils import escape

from benchmarks.handover.results import Row

_WIDTH = 960
_LEFT = 400  # where the bars begin
_RIGHT = 880  # where the longest one ends
_LINE = 22  # height of a row
_BAR = 14  # height of a bar
_MARGIN = 16

_STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.page { fill: #ffffff; } .head { font-weight: 600; font-size: 15px; } .group { fill: #59636e; font-style: italic; }
.relay { fill: #0969da; } .other { fill: #818b98; } .floor { fill: #c8d1da; } .spread { stroke: #1f2328; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; } .page { fill: #0d1117; } .group { fill: #9198a1; }
  .relay { fill: #4493f8; } .other { fill: #7d8590; } .floor { fill: #3d444d; } .spread { stroke: #f0f6fc; }
}
"""


def drawn(panels: Sequence[tuple[str, Sequence[Row]]], title: str) -> str:
    """Return an SVG of these panels, each an engine and its rows; all have one scale."""
    scale = (_RIGHT - _LEFT) / max(second for _, rows in panels for row in rows for second in row.seconds)
    parts, top = [_legend(_MARGIN)], _MARGIN + 2 * _LINE
    for engine, rows in panels:
        lines = list(_lines(engine, rows))
        parts += [_drawn(line, top + _LINE * number, scale) for number, line in enumerate(lines)]
        top += _LINE * len(lines) + _MARGIN
    size = f'width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{escape(title)}</title>'
    return "\n".join(
        [head, f"<style>\n{_STYLE}</style>", '<rect class="page" width="100%" height="100%"/>', *parts, "</svg>\n"]
    )


Line = Row | tuple[str, str]  # a row, or a text and its class


def _lines(engine: str, rows: Iterable[Row]) -> Iterator[Line]:
    yield engine, "head"
    for start, group in groupby(rows, key=lambda row: row.flow.start):
        yield f"from {start}", "group"
        yield from group


def _drawn(line: Line, top: int, scale: float) -> str:
    baseline = top + _LINE - 7
    if not isinstance(line, Row):
        return f'<text class="{line[1]}" x="{_MARGIN}" y="{baseline}">{escape(line[0])}</text>'
    end, low, high = (_LEFT + each * scale for each in (line.median, min(line.seconds), max(line.seconds)))
    bar, middle = top + (_LINE - _BAR) // 2, top + _LINE // 2
    title = escape(line.flow.title.replace("`", ""))
    return (
        f'<text x="{_LEFT - 10}" y="{baseline}" text-anchor="end">{title}</text>'
        f'<rect class="{kind(line)}" x="{_LEFT}" y="{bar}" width="{end - _LEFT:.1f}" height="{_BAR}"/>'
        f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}"/>'
        f'<text x="{max(end, high) + 6:.1f}" y="{baseline}">{line.median:.1f} s</text>'
    )


def kind(row: Row) -> str:
    """Return what a row is drawn as: a way by the relay, the floor of some way, or another way."""
    if row.flow.by_relay:
        return "relay"
    return "floor" if row.flow.floor == row.flow.key else "other"


def _legend(top: int) -> str:
    names = {"relay": "image-relay", "other": "artifacts by hand", "floor": "without artifacts: the floor"}
    parts, left = [], _LEFT
    for name, text in names.items():
        parts.append(f'<rect class="{name}" x="{left}" y="{top + 4}" width="{_BAR}" height="{_BAR}"/>')
        parts.append(f'<text x="{left + 20}" y="{top + 16}">{text}</text>')
        left += 40 + 8 * len(text)
    return "".join(parts)
