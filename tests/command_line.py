"""`image-relay` in the process of a test, as `main` starts it."""

import asyncio

from proxy.__main__ import main


def run(*arguments: str) -> int:
    """Run a command and give its exit status."""
    try:
        main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


async def command(*arguments: str) -> int:
    """Do the same while the loop goes on, for a relay in this process."""
    return await asyncio.to_thread(run, *arguments)
