"""`delete` and `prune`: remove images from the run when they are not needed any more."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from proxy.commands.relay import Bytes, CommandFailed, Place, Refused, RelayClient, path_of
from proxy.text import format_size, sanitize


class _Removal(BaseModel):
    """An artifact that was removed or kept, as `DELETE /relay/images` describes it."""

    reference: str = ""
    artifact: str = ""
    stored: Bytes = 0
    reason: str = ""


class _Removals(BaseModel):
    """The answer to `DELETE /relay/images`."""

    removed: list[_Removal]
    kept: list[_Removal]


async def delete(place: Place, references: Sequence[str], *, dry_run: bool) -> None:
    """Delete images. Raise CommandFailed with why some cannot be deleted, once all others are gone."""
    refused = list[str]()
    async with RelayClient(place) as relay:
        for reference in references:
            try:
                await _remove(relay, path_of(reference), {}, dry_run=dry_run)
            except Refused as error:
                refused.append(str(error))
    if refused:
        raise CommandFailed(*refused)


async def remove(place: Place, which: Literal["all", "superseded"], *, dry_run: bool) -> None:
    """Delete all images of the run, or what newer pushes replaced. Raise CommandFailed if some of it stays."""
    async with RelayClient(place) as relay:
        done = await _remove(relay, "/relay/images", {which: ""}, dry_run=dry_run)
    if done.kept and not dry_run:
        raise CommandFailed(f"not everything could be deleted: {len(done.kept)} kept")


async def _remove(relay: RelayClient, path: str, which: dict[str, str], *, dry_run: bool) -> _Removals:
    query = which | ({"dry-run": ""} if dry_run else {})
    async with relay.ask("DELETE", path, query) as answer:
        done = await relay.read(answer, _Removals)
    for each in done.removed:
        inside = f" ({each.artifact}, {format_size(each.stored)})" if each.artifact else ""
        print(sanitize(f"{'would delete' if dry_run else 'deleted'} {each.reference}{inside}"))
    for each in done.kept:
        print(sanitize(f"kept {each.reference or each.artifact}: {each.reason}"))
    if not (done.removed or done.kept):
        print("nothing to delete")
    return done
