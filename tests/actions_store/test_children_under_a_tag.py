"""Clients that push what an index names under its tag, and the index last: what other jobs see meanwhile, and after."""

import asyncio
import time
from dataclasses import replace

import pytest

from proxy.runtime.limits import Limits
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import Pushed, Relay, eventually, pushed_image, pushed_index
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import twirp_error
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise

# As they were seen, of Docker 26 with the containerd store and of buildx 0.13.
DOCKER = (
    "docker/26.1.5+dfsg1 go/go1.24.4 git-commit/411e817 kernel/6.18.44 os/linux arch/amd64 containerd-client/1.7.24"
    "+unknown storage-driver/overlayfs UpstreamClient(Docker-Client/26.1.5+dfsg1 \\(linux\\))"
)
BUILDX = "containerd/1.7.24+unknown"
OTHERS = [
    "",
    "buildkit/v0.0-dev",
    "crane/0.20.0",
    "docker/26.1.5 go/go1.24.4 git-commit/411e817 kernel/6.1 os/linux arch/amd64 UpstreamClient(Docker-Client/26.1.5)",
    "docker/28.2.2 go/go1.24.3 os/linux arch/arm64 containerd-client/2.0.5+unknown storage-driver/overlayfs",
    "docker/29.4.2 go/go1.26 os/linux arch/arm64 containerd-client/2.2.1+unknown storage-driver/overlayfs",
    "containerd/v2.1.4",
    "curl/8 docker/26.1.5 containerd-client/1.7",
]


QUICK = Limits(listing_fresh=0.0, interim_poll=0.02, interim_sweep=0.02, first_answer=100.0)


@pytest.fixture(autouse=True)
def quick_looks(relays: Relays) -> None:
    relays.limits = QUICK


async def put(relay: Relay, manifest: Pushed, agent: str, tag: str = "v1") -> None:
    headers = {"Content-Type": manifest.media_type, "User-Agent": agent}
    answer = await relay.ask("PUT", f"/v2/app/manifests/{tag}", data=manifest.content, headers=headers)
    assert answer.status == 201, answer.body


async def children(relay: Relay, count: int = 2) -> list[Pushed]:
    """Push the blobs of some images, but not their manifests."""
    made = []
    for number in range(count):
        config, layer = f'{{"os":"linux","architecture":"{number}"}}'.encode(), noise(10_000, number)
        for content in (config, layer):
            await relay.push_blob(content)
        made.append(pushed_image(config, layer))
    return made


async def whole(relay: Relay, reference: object) -> bytes:
    """Pull a manifest and all below it, and return the manifest."""
    await pulled(relay, reference)
    return (await relay.get(reference)).body


def names(actions: Emulator) -> list[str]:
    return [record.name for record in actions.ledger.finished()]


@pytest.mark.parametrize("agent", [DOCKER, BUILDX])
async def test_a_pull_of_another_job_waits_for_the_index_and_what_came_before_it_goes_with_a_flush(
    emulate: Emulate, relays: Relays, agent: str
) -> None:
    actions = emulate()
    writer, reader = (
        await relays.start(actions),
        await relays.start(actions, actions.job("deploy")),
    )
    made = await children(writer)
    root = pushed_index(*(each.descriptor() for each in made))
    for child in made:
        await put(writer, child, agent)

    pulling = [
        asyncio.create_task(reader.get("v1")),
        asyncio.create_task(reader.ask("HEAD", "/v2/app/manifests/v1")),
        asyncio.create_task(reader.ask("HEAD", "/relay/images/app:v1")),
    ]
    await asyncio.wait(pulling, timeout=0.5)
    assert not any(each.done() for each in pulling)
    assert (await writer.get("v1")).body == made[-1].content  # who pushes sees what he has pushed
    await put(writer, root, agent)
    answers = await asyncio.gather(*pulling)

    assert answers[0].body == root.content
    assert answers[1].headers["Docker-Content-Digest"] == str(root.digest)
    assert answers[2].status == 200
    assert names(actions) == ["image-app@v1", "image-app@v1~2", "image-app@v1~3"]
    assert (await writer.flush()).status == 200
    assert names(actions) == ["image-app@v1~3"]
    for relay in (writer, reader, await relays.start(actions, actions.job("late"))):
        assert await whole(relay, "v1") == root.content
        for child in made:
            assert await whole(relay, child.digest) == child.content


@pytest.mark.parametrize("who", ["the same job", "another job"])
@pytest.mark.parametrize("flavour", [Flavour.FORGEJO, Flavour.GITHUB])
async def test_a_cleanup_in_the_middle_takes_no_child_from_the_index(
    emulate: Emulate, relays: Relays, flavour: Flavour, who: str
) -> None:
    actions = emulate(flavour=flavour)
    writer, other = await relays.start(actions), await relays.start(actions, actions.job("other"))
    made = await children(writer)
    for child in made:
        await put(writer, child, DOCKER)

    pruned = await (writer if who == "the same job" else other).ask("DELETE", "/relay/images?superseded")
    await writer.ask("HEAD", "/v2/app/manifests/v1")
    root = pushed_index(*(each.descriptor() for each in made))
    await put(writer, root, DOCKER)

    assert pruned.json == {"removed": [], "kept": []}
    late = await relays.start(actions, actions.job("late"))
    assert await whole(late, "v1") == root.content
    removed = (await late.ask("DELETE", "/relay/images?superseded")).json["removed"]
    assert [each["artifact"] for each in removed] == ["image-app@v1", "image-app@v1~2"]
    assert await whole(late, "v1") == root.content


async def test_a_cleanup_takes_the_older_versions_of_what_never_gets_an_index(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, limits=replace(QUICK, steps_kept=0.0))
    for child in await children(relay, 3):
        await put(relay, child, DOCKER)

    removed = (await relay.ask("DELETE", "/relay/images?superseded")).json["removed"]

    assert [each["artifact"] for each in removed] == ["image-app@v1", "image-app@v1~2"]


async def test_what_came_before_the_index_goes_when_readers_had_time_to_finish(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer = await relays.start(actions, limits=replace(QUICK, interim_kept=1.0))
    first = await writer.push_image("v1", layers=[b"of before"])
    made = await children(writer)
    root = pushed_index(*(each.descriptor() for each in made))
    await writer.push(made[0])
    await writer.push(made[1])
    await put(writer, root, "buildkit/v0.0-dev")  # as buildx in an engine that then pushes once more by itself
    for child in made:
        await put(writer, child, DOCKER)
    began = time.monotonic()
    await put(writer, root, DOCKER)

    await eventually(lambda: len(names(actions)) == 2)

    assert time.monotonic() - began > 0.9
    assert names(actions) == ["image-app@v1", "image-app@v1~5"]  # the first has what no other has
    assert (await writer.get(first.digest)).body == first.content
    assert await whole(writer, "v1") == root.content


async def test_what_nothing_follows_answers_when_the_time_is_over(emulate: Emulate, relays: Relays) -> None:
    interim = 4.0
    relays.limits = replace(QUICK, interim=interim)
    actions = emulate()
    writer, reader = (
        await relays.start(actions),
        await relays.start(actions, actions.job("deploy")),
    )
    (child,) = await children(writer, 1)
    await put(writer, child, DOCKER)
    began = time.monotonic()

    held = await reader.get("v1")
    waited = time.monotonic() - began
    again = await reader.get("v1")

    assert held.body == again.body == child.content
    assert waited > interim / 2 > time.monotonic() - began - waited  # it is not waited for again
    assert (await writer.flush()).status == 200
    assert names(actions) == ["image-app@v1"]


async def test_a_pull_that_waits_longer_than_clients_do_is_told_to_come_again(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    reader = await relays.start(actions, actions.job("deploy"), limits=replace(QUICK, first_answer=0.2))
    (child,) = await children(writer, 1)
    await put(writer, child, DOCKER)

    told = await reader.get("v1")
    await put(writer, pushed_index(child.descriptor()), DOCKER)
    followed = told
    while followed.status == 307:
        followed = await reader.ask("GET", followed.headers["Location"])

    assert told.status == 307
    assert followed.body == pushed_index(child.descriptor()).content


@pytest.mark.parametrize("agent", OTHERS)
async def test_what_other_clients_push_is_answered_at_once(emulate: Emulate, relays: Relays, agent: str) -> None:
    actions = emulate(flavour=Flavour.ACT)
    writer, reader = (
        await relays.start(actions),
        await relays.start(actions, actions.job("deploy")),
    )
    (child,) = await children(writer, 1)
    await put(writer, child, agent)

    async with asyncio.timeout(5):
        assert (await reader.get("v1")).body == child.content


async def test_an_index_is_answered_at_once_whoever_pushes_it(emulate: Emulate, relays: Relays) -> None:
    actions = emulate(flavour=Flavour.ACT)
    writer, reader = (
        await relays.start(actions),
        await relays.start(actions, actions.job("deploy")),
    )
    await put(writer, root := pushed_index(), DOCKER)

    async with asyncio.timeout(5):
        assert (await reader.get("v1")).body == root.content


async def test_what_an_index_lacks_stays_although_it_is_of_the_same_tag(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    one, other = await children(writer)
    await put(writer, one, DOCKER)
    await put(writer, other, DOCKER)
    await put(writer, pushed_index(one.descriptor()), DOCKER)

    assert (await writer.flush()).status == 200

    assert names(actions) == ["image-app@v1~2", "image-app@v1~3"]
    assert await whole(writer, other.digest) == other.content


async def test_what_the_service_does_not_let_go_of_fails_no_flush(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    (child,) = await children(writer, 1)
    await put(writer, child, DOCKER)
    await put(writer, pushed_index(child.descriptor()), DOCKER)
    actions.plan.play(kinds.DELETE, twirp_error(400, "malformed", "no"))

    assert (await writer.flush()).status == 200
    assert (await writer.flush()).status == 200

    assert names(actions) == ["image-app@v1", "image-app@v1~2"]


@pytest.mark.parametrize("again", [False, True])
async def test_what_another_job_pushed_a_moment_ago_is_inside_of_an_index(
    emulate: Emulate, relays: Relays, again: bool
) -> None:
    actions = emulate()
    relays.limits = Limits()  # as users have it: a listing answers for two seconds
    one, other = await relays.start(actions), await relays.start(actions, actions.job("deploy"))
    first, second = (await children(one))[0], (await children(other))[1]
    await put(one, first, "", "amd64")
    both = pushed_index(first.descriptor(), second.descriptor())
    if again:
        await put(one, both, "", "all")
    assert (await one.get(second.digest)).status == 404

    await put(other, second, "", "arm64")
    await put(one, both, "", "all")

    assert (await other.ask("DELETE", "/v2/app/manifests/arm64")).status == 202
    last = await relays.start(actions, actions.job("late"))
    assert await whole(last, "all") == both.content
    assert await whole(last, second.digest) == second.content
