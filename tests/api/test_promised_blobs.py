"""A blob that a client was told is there stays until its manifest comes, whatever others push or delete meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from tests.api.relay import Pushed, Relay, pushed_image

CONFIG = b'{"os":"linux","architecture":"amd64"}'
LAYER = b"a layer that two clients need"
_KEPT = 0.05  # seconds for which a replaced archive is open without a request

pytestmark = pytest.mark.parametrize("limits", [Limits(replaced_kept=_KEPT)])


async def uploaded(relay: Relay) -> str:
    for content in (CONFIG, LAYER):
        await relay.push_blob(content)
    return "app"


async def asked_for(relay: Relay) -> str:
    """Another client has uploaded it, and this one is told so."""
    await uploaded(relay)
    for content in (CONFIG, LAYER):
        assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(content)}")).status == 200
    return "app"


async def asked_of_an_image(relay: Relay) -> str:
    """Only an image has it, which another client has pushed, and this one is told so."""
    await relay.push_image("other", layers=[LAYER])
    await relay.push_blob(CONFIG)
    assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(LAYER)}")).status == 200
    return "app"


async def mounted(relay: Relay) -> str:
    await relay.push_image("other", layers=[LAYER])
    for content in (CONFIG, LAYER):
        query = f"?mount={Digest.of(content)}&from=app"
        assert (await relay.ask("POST", f"/v2/web/blobs/uploads/{query}")).status == 201
    return "web"


async def deleted(relay: Relay) -> None:
    assert (await relay.ask("DELETE", "/v2/app/manifests/other")).status == 202


async def deleted_by_digest(relay: Relay) -> None:
    digest = (await relay.get("other")).headers["Docker-Content-Digest"]
    assert (await relay.ask("DELETE", f"/v2/app/manifests/{digest}")).status == 202


async def all_deleted(relay: Relay) -> None:
    assert (await relay.ask("DELETE", "/relay/images?all")).status == 200


async def replaced(relay: Relay) -> None:
    await relay.push_image("other", layers=[b"something else"])
    await asyncio.sleep(3 * _KEPT)  # until the replaced archive is closed


@pytest.mark.parametrize("told", [uploaded, asked_for, asked_of_an_image, mounted])
@pytest.mark.parametrize("meanwhile", [deleted, deleted_by_digest, all_deleted, replaced])
async def test_a_blob_that_is_there_is_there_for_the_manifest(
    relay: Relay, told: Callable[[Relay], Awaitable[str]], meanwhile: Callable[[Relay], Awaitable[None]]
) -> None:
    name, image = await told(relay), pushed_image(CONFIG, LAYER)
    if told in {uploaded, asked_for}:
        await _other_client(relay, image, has_uploaded=told is uploaded)
    await meanwhile(relay)

    await relay.push(image, "mine", name=name)

    assert (await relay.get("mine", name)).body == image.content
    assert (await relay.ask("GET", f"/v2/{name}/blobs/{Digest.of(LAYER)}")).body == LAYER


async def _other_client(relay: Relay, image: Pushed, *, has_uploaded: bool) -> None:
    if has_uploaded:
        await uploaded(relay)
    await relay.push(image, "other")


async def test_of_what_everybody_has_named_nothing_stays_in_the_spool(relay: Relay) -> None:
    await uploaded(relay)
    await uploaded(relay)
    for tag in ("one", "two"):
        await relay.push(pushed_image(CONFIG, LAYER), tag)

    assert relay.files("blobs") == relay.files("links") == []


async def test_who_names_what_is_in_archives_takes_nothing_from_others(relay: Relay) -> None:
    await relay.push_image("first", layers=[LAYER])
    for tag in ("second", "third"):
        await relay.push(pushed_image(CONFIG, LAYER), tag)
    await uploaded(relay)
    await asked_for(relay)
    await relay.push(pushed_image(CONFIG, LAYER), "other")
    await all_deleted(relay)

    await relay.push(pushed_image(CONFIG, LAYER), "mine")

    assert (await relay.get("mine")).status == 200


async def test_what_only_a_replaced_image_has_is_sent_again_or_kept(relay: Relay) -> None:
    await relay.push_image("other", layers=[LAYER])
    await relay.push_blob(CONFIG)
    reading = await relay.ask("GET", f"/v2/app/blobs/{Digest.of(LAYER)}")
    await relay.push_image("other", layers=[b"something else"])

    asked = await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(LAYER)}")
    mount = await relay.ask("POST", f"/v2/web/blobs/uploads/?mount={Digest.of(LAYER)}&from=app")
    pushed = await relay.push(pushed_image(CONFIG, LAYER))
    await asyncio.sleep(3 * _KEPT)  # until the replaced archive is closed

    assert (reading.status, asked.status, mount.status) == (200, 404, 202)
    assert (await relay.flush()).status == 200
    assert (await relay.get(pushed.digest)).body == pushed.content
    assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(LAYER)}")).body == LAYER


async def test_each_client_that_was_told_can_name_it(relay: Relay) -> None:
    await relay.push_image("other", layers=[LAYER])
    await relay.push_blob(CONFIG)
    for _ in range(2):
        assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(LAYER)}")).status == 200
    await relay.push(pushed_image(CONFIG, LAYER), "other")
    await relay.push_blob(CONFIG)

    await deleted(relay)

    await relay.push(pushed_image(CONFIG, LAYER), "mine")
    assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(LAYER)}")).body == LAYER


async def test_what_one_repository_was_told_no_other_sees(relay: Relay) -> None:
    await relay.push_image("other", layers=[LAYER])
    await relay.push_image("other", name="web", layers=[LAYER])
    assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(LAYER)}")).status == 200

    assert (await relay.ask("DELETE", "/v2/web/manifests/other")).status == 202
    await deleted(relay)

    assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(LAYER)}")).body == LAYER
    assert (await relay.ask("GET", f"/v2/web/blobs/{Digest.of(LAYER)}")).status == 404
