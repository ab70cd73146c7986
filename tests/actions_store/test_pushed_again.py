"""What is pushed again after another job has replaced or deleted it is stored again: no answer counts on a listing."""

from collections.abc import Awaitable, Callable

import pytest

from tests.actions_store.relays import Relays
from tests.api.relay import Pushed, Relay, pushed_image
from tests.fakes.actions.fixtures import Emulate

Push = Callable[[Relay], Awaitable[tuple[str, Pushed]]]
Change = Callable[[Relay, str], Awaitable[None]]
_CONFIG = b'{"os":"linux","architecture":"amd64"}'
_SIGNATURE = "sha256-" + "a" * 64 + ".sig"  # a tag that every job may move


async def by_tag(relay: Relay) -> tuple[str, Pushed]:
    return "v1", await relay.push_image("v1", layers=[b"mine"])


async def by_free_tag(relay: Relay) -> tuple[str, Pushed]:
    return _SIGNATURE, await relay.push_image(_SIGNATURE, layers=[b"mine"])


async def by_digest(relay: Relay) -> tuple[str, Pushed]:
    pushed = await relay.push_image(layers=[b"mine"])
    return str(pushed.digest), pushed


async def as_signature(relay: Relay) -> tuple[str, Pushed]:
    subject = await relay.push_image("v1", layers=[b"subject"])
    for content in (_CONFIG, b"signature"):
        await relay.push_blob(content)
    pushed = await relay.push(pushed_image(_CONFIG, b"signature", subject=subject.descriptor()))
    return str(pushed.digest), pushed


async def replaces(relay: Relay, reference: str) -> None:
    await relay.push_image(reference, layers=[b"another"])


async def deletes(relay: Relay, reference: str) -> None:
    assert (await relay.ask("DELETE", f"/v2/app/manifests/{reference}")).status == 202


async def deletes_all(relay: Relay, reference: str) -> None:
    assert (await relay.ask("DELETE", "/relay/images?all")).status == 200


async def nothing(relay: Relay, reference: str) -> None:
    """Ask for nothing."""


async def asks(relay: Relay, reference: str) -> None:
    await relay.ask("HEAD", f"/v2/app/manifests/{reference}")


async def lists(relay: Relay, reference: str) -> None:
    await relay.ask("GET", "/v2/app/tags/list")


@pytest.mark.parametrize("looks", [nothing, asks, lists])
@pytest.mark.parametrize(
    ("push", "meanwhile"),
    [
        *((push, change) for push in (by_tag, by_free_tag) for change in (replaces, deletes, deletes_all)),
        *((push, change) for push in (by_digest, as_signature) for change in (deletes, deletes_all)),
    ],
)
async def test_a_push_that_is_answered_is_there_whatever_another_job_did_before(
    emulate: Emulate,
    relays: Relays,
    push: Push,
    meanwhile: Callable[..., Awaitable[None]],
    looks: Callable[..., Awaitable[None]],
) -> None:
    actions = emulate()
    one, other = [await relays.start(actions, actions.job(name), overwrite="run") for name in ("one", "other")]
    reference, pushed = await push(one)
    assert (await one.flush()).status == 200
    await looks(one, reference)
    await meanwhile(other, reference)

    await push(one)

    assert (await one.flush()).status == 200
    later = await relays.start(actions, actions.job("later"))
    assert (await later.get(reference)).body == pushed.content


async def test_in_a_later_attempt_the_tag_is_of_who_pushed_it_first(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    before = await relays.start(actions, actions.job("before", attempt=1))
    image = await before.push_image("v1", layers=[b"mine"])
    one, other = [await relays.start(actions, actions.job(name, attempt=2)) for name in ("one", "other")]
    assert (await one.get("v1")).body == image.content
    newer = await other.push_image("v1", layers=[b"another"])
    for content in (_CONFIG, b"mine"):
        await one.push_blob(content)

    answer = await one.put("v1", image.content)

    assert answer.error == (403, "DENIED")
    assert "belongs to another job" in answer.message
    assert (await one.get("v1")).body == newer.content
