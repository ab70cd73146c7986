"""The bar that shows on a terminal how far a transfer is."""

from collections.abc import AsyncIterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from proxy.text import format_rate


class _Rate(ProgressColumn):
    """The bytes per second, in the units of all that image-relay prints."""

    def render(self, task: Task) -> Text:
        """Return the rate; nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text(format_rate(speed, 1) if speed else "", style="progress.data.speed")


async def advancing(title: str, chunks: AsyncIterator[bytes], about: int | None) -> AsyncIterator[bytes]:
    """Yield the chunks, and show on standard error how many bytes they had, of about `about` if that is known."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), _Rate())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        task = progress.add_task(escape(title), total=about)
        async for chunk in chunks:
            progress.advance(task, len(chunk))
            yield chunk
