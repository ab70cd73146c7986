"""Manifests that are answered from memory: never another one than the store has."""

from pathlib import Path

import pytest

from tests.api.relay import Relay
from tests.registry_harness import noise


def found(opened: list[str], relay: Relay) -> list[str]:
    """Return the files below the folder of a relay that were opened."""
    return [path for path in opened if path.startswith(str(relay.data))]


@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_a_manifest_that_was_served_is_not_read_again(relay: Relay, opened: list[str], by: str) -> None:
    pushed = await relay.push_image("v1")
    reference = "v1" if by == "tag" else pushed.digest
    first = await relay.get(reference)
    opened.clear()

    again = await relay.get(reference)

    assert (again.status, again.body) == (first.status, first.body) == (200, pushed.content)
    assert found(opened, relay) == []


async def test_a_tag_that_was_moved_or_deleted_answers_anew(relay: Relay) -> None:
    first = await relay.push_image("v1", layers=[noise(100)])
    assert (await relay.get("v1")).body == first.content

    second = await relay.push_image("v1", layers=[noise(101)])
    moved = await relay.get("v1")
    await relay.ask("DELETE", "/v2/app/manifests/v1")

    assert moved.body == second.content
    assert (await relay.get("v1")).status == 404
    assert (await relay.get(second.digest)).status == 404


async def test_an_artifact_that_somebody_removed_is_no_answer_once_the_folder_is_listed(relay: Relay) -> None:
    await relay.push_image("v1")
    assert (await relay.get("v1")).status == 200

    for path in Path(relay.data).rglob("*.tar.zst"):
        path.unlink()
    relay.services.lookup.catalog.forget_listing()

    assert (await relay.get("v1")).status == 404


async def test_each_repository_and_each_tag_has_an_answer_of_its_own(relay: Relay) -> None:
    pushed = {name: await relay.push_image("v1", name=name, layers=[noise(len(name))]) for name in ("app", "other")}

    for _ in range(2):
        for name, manifest in pushed.items():
            assert (await relay.get("v1", name)).body == manifest.content
        assert (await relay.get(pushed["app"].digest, "other")).status == 404
