"""A mirror of registries in the jobs of one run (RELAY_UPSTREAMS, RELAY_UPSTREAM_KEEP)."""

from typing import Any

import pytest

from proxy.oci.digest import Digest
from tests.actions_store.relays import Relays
from tests.api.relay import MIB, Relay, eventually, pushed_index
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import no_storage_left
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.fakes.actions.rest import READ_TOKEN
from tests.fakes.upstream import upstream
from tests.registry_harness import noise

HUB = "?ns=docker.io"
KEPT = "upstream/docker.io/library/alpine"


async def pull(relay: Relay, reference: object, *layers: bytes) -> bytes:
    """Pull a manifest and some layers of an image of Docker Hub, and return the manifest; all say where from."""
    manifest = await relay.ask("GET", f"/v2/library/alpine/manifests/{reference}{HUB}")
    assert manifest.headers["Image-Relay-From"] == "docker.io"
    for layer in layers:
        found = await relay.ask("GET", f"/v2/library/alpine/blobs/{Digest.of(layer)}{HUB}")
        assert (found.body == layer, found.headers["Image-Relay-From"]) == (True, "docker.io")
    return manifest.body


@pytest.mark.parametrize("flavour", list(Flavour))
async def test_a_private_image_is_fetched_once_for_all_jobs(
    emulate: Emulate, relays: Relays, flavour: Flavour, caplog: pytest.LogCaptureFixture
) -> None:
    actions, layer = emulate(flavour=flavour), noise(3 * MIB)
    relays.secrets |= {"only-for-the-hub"}
    async with upstream(private=True, login=("user", "only-for-the-hub")) as there:
        image = there.add_image("library/alpine", "3", layers=(layer,))
        asking: dict[str, Any] = {
            "upstreams": (f"docker.io={there.host}",),
            "upstream_auth": "docker.io=user:only-for-the-hub",
            "upstream_keep": True,
        }
        first = await relays.start(actions, **asking)
        assert await pull(first, "3") == image.content
        assert await pull(first, "3", layer) == image.content
        await eventually(lambda: "stored upstream/docker.io/library/alpine:3" in caplog.text)
    second = await relays.start(actions, actions.job("test"), **asking)

    assert await pull(second, "3", layer) == image.content, "the registry is down by now"
    assert await pull(second, image.digest, layer) == image.content
    listed = (await second.ask("GET", "/v2/_catalog")).json["repositories"]
    assert listed == ["upstream/docker.io/library/alpine"]

    removed = (await second.ask("DELETE", "/relay/images?all")).json["removed"]
    assert [each["reference"] for each in removed] == [f"{KEPT}:3"]
    last = await relays.start(actions, actions.job("last"))
    assert (await last.ask("GET", "/v2/_catalog")).json["repositories"] == []


async def test_each_job_adds_the_platforms_that_it_pulls(
    emulate: Emulate, relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    actions, shared = emulate(), noise(MIB)
    layers = {architecture: noise(MIB, architecture) for architecture in ("amd64", "arm64", "riscv64")}
    async with upstream() as there:
        asking: dict[str, Any] = {"upstreams": (f"docker.io={there.host}",), "upstream_keep": True}
        images = {
            each: there.add_image("library/alpine", layers=(shared, layer), architecture=each)
            for each, layer in layers.items()
        }
        index = there.add("library/alpine", pushed_index(*(each.descriptor() for each in images.values())), "3")
        for number, (architecture, image) in enumerate(images.items(), 1):
            relay = await relays.start(actions, actions.job(architecture), **asking)
            assert await pull(relay, "3") == index.content
            assert await pull(relay, image.digest, shared, layers[architecture]) == image.content
            await eventually(lambda: caplog.text.count(f"stored {KEPT}:3") == number)  # noqa: B023
        fetched = len(there.asked)
        last = await relays.start(actions, actions.job("last"), **asking)

        assert await pull(last, "3") == index.content
        for architecture, image in images.items():
            assert await pull(last, image.digest, shared, layers[architecture]) == image.content
        assert len(there.asked) == fetched
    assert f"{KEPT}:3 is stored already" not in caplog.text


async def test_what_was_deleted_or_could_not_be_kept_is_kept_when_it_is_pulled_again(
    emulate: Emulate, relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    actions, layer = emulate(), noise(MIB)
    async with upstream() as there:
        image = there.add_image("library/alpine", "3", layers=(layer,))
        relay = await relays.start(
            actions, upstreams=(f"docker.io={there.host}",), upstream_keep=True, spool_limit=16 * MIB
        )
        for number in (1, 2):
            assert await pull(relay, "3", layer) == image.content
            await eventually(lambda: caplog.text.count(f"stored {KEPT}:3") == number)  # noqa: B023
            assert (await relay.ask("DELETE", f"/relay/images/{KEPT}:3")).status == 200
        actions.plan.play(kinds.CREATE, no_storage_left())

        await pull(relay, "3", layer)
        await eventually(lambda: "library/alpine:3 is not kept" in caplog.text)
        await pull(relay, "3", layer)

        await eventually(lambda: caplog.text.count(f"stored {KEPT}:3") == 3)


async def test_what_an_earlier_run_has_kept_of_a_registry_is_not_what_it_has_now(
    emulate: Emulate, relays: Relays
) -> None:
    actions, old = emulate(), noise(MIB)
    await (await relays.start(actions, actions.job(run=7))).push_image("3", name=KEPT, layers=[old])
    async with upstream() as there:
        image = there.add_image("library/alpine", "3")
        asking: dict[str, Any] = {"upstreams": (f"docker.io={there.host}",), "upstream_keep": True, "from": ("7",)}
        relay = await relays.start(actions, token=READ_TOKEN, **asking)

        assert await pull(relay, "3") == image.content
        missing = await relay.ask("GET", f"/v2/library/alpine/blobs/{Digest.of(old)}{HUB}")
        assert missing.error == (404, "BLOB_UNKNOWN")
