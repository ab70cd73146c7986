"""What the run has already is copied inside the storage, where that may copy; where it may not, nothing fails."""

import pytest

from proxy.oci.names import Name, Tag
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import Pushed, Relay
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Answer, Delay, Fault, Reset
from tests.fakes.actions.fixtures import Emulate
from tests.registry_harness import noise

MIB = 1024 * 1024
OWN = 50_000  # bytes of a push that are never copied: tar headers, manifests, index, zip


async def pushed_before(actions: Emulator, relays: Relays) -> Pushed:
    """Push an image of two large layers in an earlier job."""
    image = await (await relays.start(actions)).push_image("v1", layers=[noise(3 * MIB, 1), noise(5 * MIB, 2)])
    actions.traffic.reset()
    return image


async def re_tagged(relay: Relay, image: Pushed, tag: str = "v2") -> None:
    """Read a manifest and push it under another tag, as `crane tag` does."""
    found = await relay.get("v1")
    await relay.push(Pushed(image.digest, found.body, found.headers["Content-Type"]), tag)


async def is_there(actions: Emulator, relays: Relays, image: Pushed, tag: str = "v2") -> None:
    """Pull with an empty disk, every byte checked."""
    assert (await pulled(await relays.start(actions, actions.job("deploy")), tag))["manifest"] == image.content


async def test_a_re_tag_in_a_later_job_sends_no_layer_and_outlives_the_tag_it_was_made_of(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    image = await pushed_before(actions, relays)
    relay = await relays.start(actions, actions.job("promote"))

    await re_tagged(relay, image)

    assert actions.traffic.received[kinds.PUT_BLOCK] < OWN
    assert actions.traffic.calls[kinds.COPY_BLOCK] == 2
    assert actions.traffic.sent[kinds.GET_RANGE] < MIB  # the end of the archive, and no layer
    assert (await relay.ask("DELETE", "/v2/app/manifests/v1")).status == 202
    await is_there(actions, relays, image)


async def test_storage_that_copies_nothing_gets_the_bytes_and_is_asked_no_more(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate(copies=False)
    image = await pushed_before(actions, relays)
    relay = await relays.start(actions, actions.job("promote"))

    await re_tagged(relay, image)
    asked = actions.traffic.calls[kinds.COPY_BLOCK]
    await re_tagged(relay, image, "v3")

    assert 2 <= asked <= 4  # two layers side by side, each believes a second refusal
    assert actions.traffic.calls[kinds.COPY_BLOCK] == asked
    assert actions.traffic.received[kinds.PUT_BLOCK] > 16 * MIB
    await is_there(actions, relays, image)
    await is_there(actions, relays, image, "v3")


def refused(status: int) -> Answer:
    return Answer(status, headers={"x-ms-error-code": "CannotVerifyCopySource"})


@pytest.mark.parametrize(
    ("fault", "times", "sent"),
    [
        (refused(403), 1, 0),
        (refused(404), 1, 0),
        (refused(409), 1, 0),
        (Answer(503), 3, 0),
        (Answer(429, headers={"Retry-After": "0"}), 2, 0),
        (Reset(), 2, 0),
        (Reset(effect=True), 2, 0),
        (Delay(0.2), None, 0),
        (refused(409), None, 8 * MIB),
        (Answer(503), None, 8 * MIB),
        (Answer(400, headers={"x-ms-error-code": "Crc64Mismatch"}), None, 8 * MIB),
        (Answer(405), None, 8 * MIB),
        (Answer(201), None, 8 * MIB),  # as of a server that takes the header for nothing
        (Answer(201, headers={"x-ms-content-crc64": "AAAAAAAAAAA="}), None, 8 * MIB),
    ],
    ids=repr,
)
async def test_whatever_a_copy_meets_the_image_is_stored_exact(
    emulate: Emulate, relays: Relays, fault: Fault, times: int | None, sent: int
) -> None:
    actions = emulate()
    image = await pushed_before(actions, relays)
    relay = await relays.start(actions, actions.job("promote"))
    actions.plan.play(kinds.COPY_BLOCK, fault, times=times)

    await re_tagged(relay, image)

    assert sent <= actions.traffic.received[kinds.PUT_BLOCK] < sent + OWN
    await is_there(actions, relays, image)


async def test_a_source_that_is_deleted_on_the_way_is_replaced_by_another_one(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    image = await pushed_before(actions, relays)
    other = await relays.start(actions, actions.job("other"))
    await re_tagged(other, image, "second")
    relay = await relays.start(actions, actions.job("promote"))
    for tag in ("v1", "second"):  # both are known to have the layers
        assert (await relay.get(tag)).status == 200
    assert (await other.ask("DELETE", "/v2/app/manifests/second")).status == 202  # the newest, which is asked first
    actions.traffic.reset()

    await relay.push(Pushed(image.digest, image.content, image.media_type), "v2")

    assert actions.traffic.received[kinds.PUT_BLOCK] < OWN
    await is_there(actions, relays, image)


async def test_an_expired_url_of_a_source_is_signed_again(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    image = await pushed_before(actions, relays)
    relay = await relays.start(actions, actions.job("promote"))
    assert (await relay.get("v1")).status == 200
    actions.expire_urls()

    await re_tagged(relay, image)

    assert actions.traffic.received[kinds.PUT_BLOCK] < OWN
    await is_there(actions, relays, image)


@pytest.mark.parametrize("repositories", [1, 10])
async def test_ten_images_on_one_base_send_little_more_than_the_base_and_what_is_their_own(
    emulate: Emulate, relays: Relays, repositories: int
) -> None:
    actions = emulate()
    base, own = noise(8 * MIB, 1), 400_000

    pushed = []
    for number in range(10):
        relay = await relays.start(actions, actions.job(f"job{number}"))
        name = f"app{number % repositories}"
        pushed.append(
            (
                name,
                f"v{number}",
                await relay.push_image(f"v{number}", name=name, layers=[base, noise(own, 100 + number)]),
            )
        )

    wanted = len(base) + 10 * own
    assert actions.traffic.received[kinds.PUT_BLOCK] <= 1.15 * wanted
    reader = await relays.start(actions, actions.job("deploy"))
    for name, tag, image in pushed:
        assert (await pulled(reader, tag, name))["manifest"] == image.content


async def test_a_source_whose_checksums_are_not_those_of_what_was_pushed_is_not_copied_from(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    image = await pushed_before(actions, relays)
    relay = await relays.start(actions, actions.job("promote"))
    assert (await relay.get("v1")).status == 200
    archive = await relay.services.lookup.catalog.resolve(Name.parse("app"), Tag.parse("v1"))
    assert archive
    layers = [entry for entry in archive.index.blobs.values() if entry.size > MIB]
    for entry in layers:  # an index that somebody else has made may say anything
        entry.__dict__["crc64"] = bytes(len(entry.crc64 or b""))

    await relay.push_image("v1", name="other", layers=[noise(3 * MIB, 1), noise(5 * MIB, 2)])

    assert actions.traffic.calls[kinds.COPY_BLOCK] == 0
    assert (await pulled(await relays.start(actions, actions.job("deploy")), "v1", "other"))[
        "manifest"
    ] == image.content


async def test_what_storage_has_copied_counts_as_unseen_until_it_is_pulled(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await pushed_before(actions, relays)
    relay = await relays.start(actions, actions.job("promote"))
    image = await relay.push_image("v1", name="other", layers=[noise(3 * MIB, 1), noise(5 * MIB, 2)])
    assert actions.traffic.calls[kinds.COPY_BLOCK] == 2
    archive = await relay.services.lookup.catalog.resolve(Name.parse("other"), Tag.parse("v1"))
    assert archive
    layers = {digest for digest, entry in archive.index.blobs.items() if entry.size > MIB}

    assert archive.findings.verified.isdisjoint(layers)
    (relay.data / "spool" / "blobs").rename(relay.data / "away")
    await pulled(relay, image.digest, "other")
    assert archive.findings.verified >= layers
