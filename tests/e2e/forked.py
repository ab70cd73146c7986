"""The command line as a process of its own, forked from one that has imported it: a start takes a tenth of the time.

Nothing passes from one to the other but modules. What modules read when they are imported needs a new interpreter.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_READ_WHEN_IMPORTED = {"SSL_CERT_FILE"}
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload([__name__, "proxy.__main__", "proxy.app", "proxy.reporting.log_format"])


def start(arguments: Sequence[str], environment: Mapping[str, str], log: Path, *, anew: bool) -> BaseProcess:
    """Run `image-relay` with these arguments and with nothing else in its environment; it ends with this process.

    With `anew` it has an interpreter of its own: a forked process takes less memory.
    """
    anew = anew or any(environment.get(name) != os.environ.get(name) for name in _READ_WHEN_IMPORTED)
    process = _FORKING.Process(target=_run, args=(arguments, dict(environment), log, anew), daemon=True)
    process.start()
    return process


def _run(arguments: Sequence[str], environment: dict[str, str], log: Path, anew: bool) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(_ROOT)
    if anew:
        os.execve(sys.executable, [sys.executable, "-m", "proxy", *arguments], environment)  # noqa: S606
    os.environ.clear()
    os.environ.update(environment)

    from proxy.__main__ import main  # noqa: PLC0415 - the tests' own process imports this module, too

    main(arguments)
