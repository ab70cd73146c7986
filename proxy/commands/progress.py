"""The progress of a transfer: a bar on a terminal, nothing elsewhere."""

import sys
from collections.abc import AsyncIterator


def shown(title: str, chunks: AsyncIterator[bytes], about: int | None) -> AsyncIterator[bytes]:
    """Return the chunks; a terminal shows how many bytes they had, of about `about` if that is known."""
    if not sys.stderr.isatty():
        return chunks
    from proxy.commands.bar import advancing  # noqa: PLC0415 - most transfers are those of a job, which has no terminal

    return advancing(title, chunks, about)
