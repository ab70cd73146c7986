"""Artifacts with our name that other tools wrote: found and served, with the very same digests."""

import asyncio
import zipfile
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from proxy.archive.container import wrap
from proxy.artifacts.naming import SUFFIX
from proxy.runtime.limits import Limits
from tests.actions_store import foreign_images
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import MIB, Pushed, Relay, pushed_index
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.fixtures import Emulate, require_tools
from tests.fakes.actions.official import OfficialClient
from tests.registry_harness import noise
from tests.tarballs import zipped
from tests.unit.fakes.caller import Caller


async def stored(relays: Relays, actions: Emulator, tag: str = "v1") -> tuple[Relay, Pushed]:
    """Push an index of two images, in a job of another run."""
    relay = await relays.start(actions, actions.job("build", run=7))
    children = [await relay.push_image(layers=[noise(300_000, seed), b"plain" * 1000]) for seed in (1, 2)]
    return relay, await relay.push(pushed_index(*(each.descriptor() for each in children)), tag)


async def archive_of(relay: Relay) -> bytes:
    """Return the archive of the only artifact of a run, as somebody gets it who downloads it by hand."""
    answer = await relay.ask("GET", "/relay/images/app:v1")
    assert answer.status == 200
    return answer.body


async def see(relays: Relays, actions: Emulator, pushed: Pushed, before: dict[str, bytes]) -> Relay:
    relay = await relays.start(actions, actions.job("deploy", run=8))
    assert await pulled(relay, "v1") == before
    assert (await relay.get(pushed.digest)).body == pushed.content
    assert (await relay.ask("GET", "/v2/app/tags/list")).json["tags"] == ["v1"]
    return relay


@pytest.mark.parametrize("how", ["deflated", "stored", "raw"])
@pytest.mark.parametrize("form", ["zip", "raw"])
async def test_what_the_official_client_downloads_and_uploads_again_is_the_same_image(
    emulate: Emulate, relays: Relays, tmp_path: Path, form: str, how: str
) -> None:
    actions = emulate(whole_read_limit=None)
    first = await relays.start(actions, actions.job("build", run=7), artifact_format=form)
    children = [await first.push_image(layers=[noise(300_000, seed), b"plain" * 1000]) for seed in (1, 2)]
    pushed = await first.push(pushed_index(*(each.descriptor() for each in children)), "v1")
    before = await pulled(first, "v1")
    tools, source, target = require_tools(), actions.job("promote", run=7), actions.job("promote", run=8)
    reading = OfficialClient(tools, actions.environment(source), tmp_path)
    writing = OfficialClient(tools, actions.environment(target), tmp_path)

    (listed,) = await asyncio.to_thread(reading.list)
    await asyncio.to_thread(reading.download, listed["id"], tmp_path / "got", listed["digest"])
    (file,) = (tmp_path / "got").iterdir()
    options = {"raw": True} if how == "raw" else {"compressionLevel": 0 if how == "stored" else 6}
    await asyncio.to_thread(writing.upload, listed["name"], [file], **options)

    assert file.name == ("image-app@v1.tar.zst" if form == "zip" else "image-app@v1")
    relay = await see(relays, actions, pushed, before)
    names = [each.name for each in actions.ledger.finished()]
    assert names == ["image-app@v1", file.name if how == "raw" else "image-app@v1"]
    again = await relay.push(pushed, "v1") if how != "raw" else pushed
    assert again.digest == pushed.digest
    assert (await relay.ask("DELETE", "/v2/app/manifests/v1")).status == 202
    assert (await relay.get("v1")).status == 404


async def test_a_zip_that_a_relay_wrote_for_another_name_is_served_when_all_of_it_is_right(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay, pushed = await stored(relays, actions)
    before, content = await pulled(relay, "v1"), await archive_of(relay)
    wrapping = wrap("image-app@v0" + SUFFIX, len(content), crc32(content))
    whole = wrapping.head + content + wrapping.end
    await Caller(actions, actions.job("promote", run=8)).upload("image-app@v1", whole)

    await see(relays, actions, pushed, before)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "two files": lambda content: zipped({"a.tar.zst": content, "b": b"x"}),
    "none": lambda _: zipped({}),
    "an odd compression": lambda content: zipped({"a.tar.zst": content}, zipfile.ZIP_BZIP2),
    "out of all proportion": lambda _: zipped({"a.tar.zst": bytes(50 * MIB)}),
    "no archive": lambda _: zipped({"a.tar.zst": noise(500_000)}),
    "cut": lambda content: zipped({"a.tar.zst": content})[:-100],
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_zip_of_something_else_is_named(emulate: Emulate, relays: Relays, damage: str) -> None:
    actions = emulate()
    relay, _ = await stored(relays, actions)
    content = DAMAGES[damage](await archive_of(relay))
    await foreign_images.store(actions, actions.job("promote", run=8), "image-app@v1", content)
    other = await relays.start(actions, actions.job("deploy", run=8))

    answer = await other.get("v1")

    assert answer.error == (403, "DENIED")
    assert answer.message.startswith("image-app@v1 cannot be read: ")
    assert "push it again" in answer.message


async def test_who_stored_an_image_does_not_show_it_for_ever_after_another_job_has_deleted_it(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relays.limits = Limits(listing_fresh=0.0, listing_late=0.0)
    writer, other = await relays.start(actions), await relays.start(actions, actions.job("test"))
    await writer.push_image("v1")
    assert (await other.ask("DELETE", "/relay/images/app:v1")).status == 200

    head = await writer.ask("HEAD", "/v2/app/manifests/v1")  # which a client takes for a reason to send nothing

    assert head.status == 404
    assert (await writer.ask("GET", "/relay/images")).json["images"] == []
    await writer.push_image("v1")
    assert len(actions.ledger.records) == 1
