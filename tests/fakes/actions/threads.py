"""An emulator in a thread of its own, so that tests that block, and clients that are processes, can use it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.actions.emulator import Emulator, serving
from tests.fakes.actions.options import Options

_START_SECONDS = 20.0


class _Thread(threading.Thread):
    def __init__(self, options: Options, folder: Path, azurite: str | None) -> None:
        super().__init__(name="actions-emulator", daemon=True)
        self._options = options
        self._folder = folder
        self._azurite = azurite
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self.ready = threading.Event()
        self.emulator: Emulator | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            self.error = error
        finally:
            self.ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with serving(self._options, self._folder, self._azurite) as self.emulator:
            self.ready.set()
            await self._end.wait()

    def end(self) -> None:
        if self._loop is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self.join()


@contextmanager
def in_thread(options: Options, folder: Path, azurite: str | None = None) -> Iterator[Emulator]:
    """Serve until the end of the `with`. Plan, options and counters may be used from the test's thread."""
    thread = _Thread(options, folder, azurite)
    thread.start()
    try:
        if not thread.ready.wait(_START_SECONDS) or thread.emulator is None:
            raise RuntimeError("the emulator did not start") from thread.error
        yield thread.emulator
    finally:
        thread.end()
    if thread.error is not None:
        raise RuntimeError("the emulator failed") from thread.error
