"""The progress of a transfer: a bar on a terminal, nothing elsewhere."""

from collections.abc import AsyncIterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn


async def shown(title: str, chunks: AsyncIterator[bytes], about: int | None) -> AsyncIterator[bytes]:
    """Yield the chunks, and show on standard error how many bytes they had, of about `about` if that is known."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        task = progress.add_task(escape(title), total=about)
        async for chunk in chunks:
            progress.advance(task, len(chunk))
            yield chunk
