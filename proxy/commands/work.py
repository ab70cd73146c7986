"""What each command has to do, by the arguments that it was called with. Each imports what it needs alone."""

# ruff: noqa: PLC0415 - imports inside functions, for the reason above
from argparse import Namespace
from collections.abc import Callable, Coroutine
from typing import Any

from proxy.commands import images
from proxy.commands.relay import Place
from proxy.runtime.memory import keep_freed_memory

Work = Coroutine[Any, Any, None]


def work(command: str, place: Place, chosen: Namespace) -> Work:
    """Return the work of a command, to be awaited. Raise CommandFailed where an argument makes no sense."""
    return _WORK[command](place, chosen)


def _list(place: Place, chosen: Namespace) -> Work:
    from proxy.commands import listing

    return listing.show(place, full=chosen.full)


def _wait(place: Place, chosen: Namespace) -> Work:
    from proxy.commands import wait

    return wait.wait(place, [str(images.read(text)) for text in chosen.references], chosen.timeout)


def _save(place: Place, chosen: Namespace) -> Work:
    from proxy.commands import save_load

    keep_freed_memory()
    if chosen.file is not None:
        return save_load.send(place, "".join(map(images.target_of, chosen.references)), chosen.file)
    return save_load.save(place, [images.saving(text) for text in chosen.references])


def _load(place: Place, chosen: Namespace) -> Work:
    from proxy.commands import save_load

    keep_freed_memory()
    references = [images.loading(text) for text in chosen.references]
    if chosen.file is not None:
        return save_load.write(place, references, chosen.file, chosen.platform, replace=chosen.force)
    return save_load.load(place, references, chosen.platform)


def _delete(place: Place, chosen: Namespace) -> Work:
    from proxy.commands import cleanup

    if chosen.all:
        return cleanup.remove(place, "all", dry_run=chosen.dry_run)
    for text in chosen.references:
        images.read(text)
    return cleanup.delete(place, list(dict.fromkeys(chosen.references)), dry_run=chosen.dry_run)


def _prune(place: Place, chosen: Namespace) -> Work:
    from proxy.commands import cleanup

    return cleanup.remove(place, "superseded", dry_run=chosen.dry_run)


_WORK: dict[str, Callable[[Place, Namespace], Work]] = {
    "list": _list,
    "save": _save,
    "load": _load,
    "wait": _wait,
    "delete": _delete,
    "prune": _prune,
}
