"""Deletion of images that are not needed any more, by the names that people know them by."""

from aiohttp import web

from proxy.api.json_answer import json_answer
from proxy.api.params import is_set, parameters
from proxy.api.services import SERVICES
from proxy.errors import NameInvalid, ParameterInvalid, Unsupported
from proxy.oci.references import Reference
from proxy.registry.deletion import Removal


@parameters("dry-run")
async def one(request: web.Request) -> web.Response:
    """Delete what a tag or a digest names, replaced versions included; with `?dry-run` only say what that is.

    A tag with a digest names the tag, if it has that digest.
    """
    services = request.app[SERVICES]
    if (image := request.match_info["image"]) == "*":
        raise NameInvalid("to delete all images: DELETE /relay/images?all")
    reference = Reference.parse(image)
    name = reference.name(services.backend.public_host)
    named = (reference.tag, reference.digest) if reference.tag else (reference.wanted, None)
    return _told(await services.deletion.delete_manifest(name, *named, dry_run=is_set(request, "dry-run")))


@parameters("all", "superseded", "dry-run")
async def many(request: web.Request) -> web.Response:
    """Delete all that was stored in the run (`?all`), or what newer pushes replaced (`?superseded`); or `?dry-run`."""
    cleanup, dry_run = request.app[SERVICES].cleanup, is_set(request, "dry-run")
    every, superseded = is_set(request, "all"), is_set(request, "superseded")
    if every and superseded:
        raise ParameterInvalid("?all and ?superseded do not go together: say which images are to be deleted")
    if every:
        return _told(await cleanup.all(dry_run=dry_run))
    if superseded:
        return _told(await cleanup.superseded(dry_run=dry_run))
    raise Unsupported("say which images: DELETE /relay/images/app:v1, ?superseded, or ?all")


def _told(done: list[Removal]) -> web.Response:
    removed, kept = list[dict[str, object]](), list[dict[str, object]]()
    for each in done:
        fields = {"reference": each.reference, "artifact": each.artifact, "stored": each.stored}
        if each.kept:
            kept.append(fields | {"reason": each.kept})
        else:
            removed.append(fields)
    return json_answer({"removed": removed, "kept": kept})
