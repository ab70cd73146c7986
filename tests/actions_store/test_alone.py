"""Every artifact stands alone: whatever is deleted, in whatever order, what is still listed pulls and loads whole."""

import random
from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path

import pytest

from proxy.oci.digest import Digest
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import Pushed, Relay, pushed_image, pushed_index, running
from tests.api.test_images import files_of
from tests.fakes.actions.fixtures import Emulate
from tests.registry_harness import noise


@pytest.fixture(params=["directory", "actions"])
async def relay(
    request: pytest.FixtureRequest, emulate: Emulate, relays: Relays, tmp_path: Path
) -> AsyncIterator[Relay]:
    if request.param == "actions":
        yield await relays.start(emulate())
        return
    async with running(tmp_path / "data") as relay:
        yield relay


async def delete(relay: Relay, reference: object, name: str = "app") -> int:
    return (await relay.ask("DELETE", f"/v2/{name}/manifests/{reference}")).status


async def tags(relay: Relay, name: str = "app") -> list[str]:
    answer = await relay.ask("GET", f"/v2/{name}/tags/list")
    return list(answer.json["tags"]) if answer.status == 200 else []


async def is_whole(relay: Relay, tag: str, root: Pushed) -> None:
    """See that a tag pulls to its last blob, and that its tarball has as much."""
    assert (await relay.get(tag)).body == root.content
    found = await pulled(relay, tag)
    tarball = await relay.ask("GET", f"/relay/images/app:{tag}?compression=none")
    assert tarball.status == 200, tarball.body
    blobs = {str(Digest.of(content)) for path, content in files_of(tarball.body).items() if path.startswith("blobs/")}
    assert blobs >= found.keys() - {"manifest"}


async def two_platforms(relay: Relay, seed: int = 0, *, by_tag: bool = False) -> Pushed:
    """Push two images by digest, or under tags of their own, and give an index of both."""
    children = [
        await relay.push_image(*([f"child{seed}-{each}"] if by_tag else []), layers=[noise(300_000, seed * 10 + each)])
        for each in range(2)
    ]
    return pushed_index(*(child.descriptor() for child in children))


@pytest.mark.parametrize("order", list(permutations(("one", "two", "three", "again"))), ids="-".join)
async def test_tags_of_one_index_go_one_after_the_other_and_the_others_stay_whole(
    relay: Relay, order: tuple[str, ...]
) -> None:
    root = await two_platforms(relay)
    for tag in ("one", "two", "three"):
        await relay.push(root, tag)
    again = await relay.get("two")
    await relay.push(Pushed(root.digest, again.body, root.media_type), "again")

    for at, tag in enumerate(order[:-1]):
        assert await delete(relay, tag) == 202
        for left in order[at + 1 :]:
            await is_whole(relay, left, root)
        assert await tags(relay) == sorted(order[at + 1 :])


async def test_a_merge_outlives_the_images_that_it_was_made_of(relay: Relay) -> None:
    root = await two_platforms(relay, by_tag=True)
    await relay.push(root, "both")
    await relay.flush()

    for tag in ("child0-0", "child0-1"):
        assert await delete(relay, tag) == 202

    assert await tags(relay) == ["both"]
    await is_whole(relay, "both", root)


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_sequence_of_pushes_merges_re_tags_and_deletions_every_listed_tag_is_whole(
    relay: Relay, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - no secret
    there: dict[str, Pushed] = {}
    for step in range(25):
        tag = f"v{dice.randrange(6)}"
        match dice.choice(["image", "index", "merge", "re-tag", "delete", "delete"]):
            case "image":
                there[tag] = await relay.push_image(tag, layers=[noise(dice.randrange(1, 99_000), step)])
            case "index":
                there[tag] = await relay.push(await two_platforms(relay, step + 100), tag)
            case "merge" if len(there) > 1:
                some = dice.sample(sorted(there), 2)
                there[tag] = await relay.push(
                    pushed_index(*(there[each].descriptor() for each in some), annotations={"n": tag}), tag
                )
            case "re-tag" if there:
                there[tag] = await relay.push(there[dice.choice(sorted(there))], tag)
            case "delete" if tag in there:
                assert await delete(relay, tag) == 202
                del there[tag]

    assert await tags(relay) == sorted(there)
    for tag, root in there.items():
        await is_whole(relay, tag, root)


async def test_an_index_that_came_before_what_it_names_is_whole_when_it_is_pushed_again(relay: Relay) -> None:
    children = [pushed_image(b"{}", noise(300_000, each)) for each in range(2)]
    root = pushed_index(*(child.descriptor() for child in children))
    await relay.push(root, "v1")
    for each in range(2):
        await relay.push_blob(b"{}")
        await relay.push_blob(noise(300_000, each))
        await relay.push(children[each], f"child{each}")

    await relay.push(root, "v1")

    for each in range(2):
        assert await delete(relay, f"child{each}") == 202
    await is_whole(relay, "v1", root)


async def test_what_waits_by_digest_survives_the_deletion_of_a_tag_whose_replaced_image_it_needs(relay: Relay) -> None:
    layer = noise(300_000, 1)
    await relay.push_image("v1", layers=[layer])
    waiting = pushed_image(b"{}", layer)
    await relay.push_blob(b"{}")
    await relay.push(waiting)
    await relay.push_image("v1", layers=[b"another"])

    assert await delete(relay, "v1") == 202

    assert (await relay.flush()).status == 200
    assert len(await pulled(relay, waiting.digest)) == 3
