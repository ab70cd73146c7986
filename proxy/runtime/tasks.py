"""The one door to the thread pool, and the one keeper of background tasks."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
K = TypeVar("K")
T = TypeVar("T")

_TOGETHER = 50  # small works that one thread does without a pause, which takes some 10 ms
_SLOW = 1.0  # seconds without an end after which more works begin


async def run_in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread and return its result."""
    if _HERE.runs:
        return call(*args, **kwargs)
    return await asyncio.to_thread(call, *args, **kwargs)  # noqa: TID251 - this is the door


class _Here(threading.local):
    """Whether this thread runs `run_here`."""

    runs = False


_HERE = _Here()


def run_here(work: Coroutine[Any, Any, T]) -> T:
    """Run, in a thread that may block, work that waits for nothing but `run_in_thread`: many small reads at a time.

    Going to a thread and back takes ten times as long as reading a small file. Raise RuntimeError if it waits for the
    loop.
    """
    _HERE.runs = True
    try:
        work.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    finally:
        _HERE.runs = False
        work.close()
    raise RuntimeError("it waits for the loop")


async def run_many(
    work: Callable[[K], Coroutine[Any, Any, T]], items: Sequence[K], failures: tuple[type[Exception], ...]
) -> AsyncGenerator[list[tuple[K, T]]]:
    """Do work that `run_here` can do for each of the items, many in one thread; yield what came of some, in order.

    Those for which it fails in one of these ways, or waits for the loop, are left out.
    """

    def some(chosen: Sequence[K]) -> list[tuple[K, T]]:
        done = []
        for each in chosen:
            with suppress(*failures, RuntimeError):
                done.append((each, run_here(work(each))))
        return done

    for start in range(0, len(items), _TOGETHER):
        yield await run_in_thread(some, items[start : start + _TOGETHER])


async def run_in_dedicated_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that waits for this loop in a thread of its own: it could use up the threads of `run_in_thread`."""
    own = ThreadPoolExecutor(1, getattr(call, "__name__", "work"))
    try:
        return await asyncio.get_running_loop().run_in_executor(own, partial(call, *args, **kwargs))
    finally:
        own.shutdown(wait=False)


async def run_in_own_thread(call: Callable[[], T]) -> T:
    """Run a call that may wait for long in a thread of its own; neither other calls nor the end of the process wait."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        tell: Callable[[], None]
        try:
            tell = partial(result.set_result, call())
        except Exception as error:  # noqa: BLE001 - told to the caller
            tell = partial(result.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(lambda: None if result.done() else tell())  # done: the caller was cancelled

    threading.Thread(target=run, daemon=True).start()
    return await result


class TaskSet:
    """Owner of background tasks.

    Not a TaskGroup: one task that fails must not take the others, and the service, with it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin the work; the task is kept until it has ended."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel_all(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Several(Generic[T]):
    """Run several works at once, at most `most` for all callers together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._turns = asyncio.Semaphore(most)

    async def ended(self, works: Iterable[Callable[[], Coroutine[Any, Any, T]]]) -> AsyncGenerator[asyncio.Task[T]]:
        """Yield works as tasks that are done, in the order in which they end.

        One begins alone, and each time one ends, twice as many may run: a caller that stops at the first result has
        begun little in vain. What is under way when the caller stops is cancelled.
        """
        tasks, waiting, running, width = TaskSet(), iter(works), set[asyncio.Task[T]](), 1
        try:
            while True:
                running |= {tasks.spawn(self._in_turn(work)) for work in islice(waiting, width - len(running))}
                if not running:
                    return
                done, running = await asyncio.wait(running, timeout=_SLOW, return_when=asyncio.FIRST_COMPLETED)
                width = min(2 * width, self._most)
                for task in done:
                    yield task
        finally:
            await tasks.cancel_all()

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._turns:
            return await work()
