"""The one door to the thread pool, and the one keeper of background tasks."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def offload(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread and give its result."""
    return await asyncio.to_thread(call, *args, **kwargs)  # noqa: TID251 - this is the door


async def in_own_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that waits for this loop in a thread of its own; those of `offload` could all come to wait for it."""
    own = ThreadPoolExecutor(1)
    try:
        return await asyncio.get_running_loop().run_in_executor(own, partial(call, *args, **kwargs))
    finally:
        own.shutdown(wait=False)


class Crew:
    """Owner of background tasks.

    Not a TaskGroup: one task that fails must not take the others, and the service, with it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin the work; the task is kept until it has ended."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def dismiss(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
