"""Images of another run (RELAY_RUN_ID): deleted with a token that may, by tag, by digest, and all of them."""

from typing import Any

import pytest

from tests.actions_store.foreign_images import store
from tests.actions_store.relays import Relays
from tests.api.relay import Answer, Pushed, Relay
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Answer as Failing
from tests.fakes.actions.faults import Fault, Reset, edge_page, rate_limited
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.rest import READ_TOKEN, WRITE_TOKEN

NUMBER = 7
NOT_ALLOWED = 'GITHUB_TOKEN cannot delete artifacts: give the job "permissions: {actions: write}"'


async def filled(actions: Emulator, relays: Relays) -> dict[str, Pushed]:
    """Push two tags in the other run, one of them twice, and one in a third run; somebody else stores a file there."""
    job = actions.job(run=NUMBER)
    writer = await relays.start(actions, job)
    pushed = {tag: await writer.push_image(tag, layers=[tag.encode()]) for tag in ("v1", "v2")}
    pushed["v1"] = await writer.push_image("v1", layers=[b"the newer"])
    await (await relays.start(actions, actions.job(run=NUMBER + 1))).push_image("v1")
    await store(actions, job, "report.txt", b"of somebody else")
    job.run.status, job.run.conclusion = "completed", "success"
    actions.traffic.reset()
    return pushed


async def reading(actions: Emulator, relays: Relays, token: str = WRITE_TOKEN, **more: Any) -> Relay:
    relays.secrets.add(token)
    return await relays.start(actions, token=token, run_id=str(NUMBER), **more)


def names(actions: Emulator) -> list[str]:
    return sorted(f"{record.name} of {actions.runs.known(record.run).number}" for record in actions.ledger.records)


OTHERS = ["image-app@v1 of 8", "report.txt of 7"]


async def test_a_tag_is_deleted_with_its_older_versions_and_nothing_else(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    pushed = await filled(actions, relays)
    relay = await reading(actions, relays)

    assert (await relay.ask("DELETE", "/relay/images/app:v1")).status == 200

    assert names(actions) == sorted(["image-app@v2 of 7", *OTHERS])
    assert (await relay.get("v1")).status == 404
    assert (await relay.get("v2")).body == pushed["v2"].content
    assert (await relay.ask("DELETE", f"/v2/app/manifests/{pushed['v2'].digest}")).status == 202
    assert names(actions) == OTHERS


async def test_all_images_of_the_run_are_deleted_by_two_requests_each(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await filled(actions, relays)
    relay = await reading(actions, relays)
    before = names(actions)

    planned = await relay.ask("DELETE", "/relay/images?all&dry-run")
    left = names(actions)
    answer = await relay.ask("DELETE", "/relay/images?all")

    assert left == before
    assert [each["artifact"] for each in answer.json["removed"]] == [
        each["artifact"] for each in planned.json["removed"]
    ]
    assert names(actions) == OTHERS
    assert actions.traffic.calls[kinds.REST_DELETE] == 3
    assert actions.traffic.calls[kinds.REST_ZIP] == 3
    assert actions.traffic.calls[kinds.REST_RUN] == 1
    assert actions.traffic.total(kinds.DELETE, kinds.LIST) == 0


@pytest.mark.parametrize("path", ["/relay/images?all", "/relay/images/app:v3"])
async def test_what_was_pushed_since_the_last_look_is_deleted_too(emulate: Emulate, relays: Relays, path: str) -> None:
    actions = emulate()
    await filled(actions, relays)
    relay = await reading(actions, relays)
    assert (await relay.get("v3")).status == 404
    await (await relays.start(actions, actions.job(run=NUMBER))).push_image("v3")

    assert (await relay.ask("DELETE", path)).status == 200

    assert not [each for each in names(actions) if each.startswith("image-app@v3")]


async def test_a_push_is_refused_all_the_same(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await filled(actions, relays)

    answer = await (await reading(actions, relays)).ask("POST", "/v2/app/blobs/uploads/")

    assert answer.error == (403, "DENIED")
    assert answer.message == "this relay serves the images of another run; push to one without RELAY_RUN_ID"


@pytest.mark.parametrize("path", ["/relay/images/app:v1", "/v2/app/manifests/v1"])
async def test_a_token_that_only_reads_is_told_what_to_change(emulate: Emulate, relays: Relays, path: str) -> None:
    actions = emulate()
    pushed = await filled(actions, relays)
    relay = await reading(actions, relays, READ_TOKEN)
    before = names(actions)

    answer: Answer = await relay.ask("DELETE", path)
    asked = actions.traffic.total(*kinds.REST)
    everything = await relay.ask("DELETE", "/relay/images?all")

    for each in (answer, everything):
        assert each.error == (403, "DENIED")
        assert each.message == NOT_ALLOWED
    assert actions.traffic.total(*kinds.REST) == asked  # nothing would change
    assert names(actions) == before
    assert (await relay.get("v1")).body == pushed["v1"].content


async def test_of_everything_the_first_refusal_is_the_reason_for_all(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await filled(actions, relays)
    relay, before = await reading(actions, relays, READ_TOKEN), names(actions)

    answer = await relay.ask("DELETE", "/relay/images?all")

    assert answer.json["removed"] == []
    assert [each["reason"] for each in answer.json["kept"]] == [NOT_ALLOWED] * 3
    assert actions.traffic.calls[kinds.REST_DELETE] == 1
    assert names(actions) == before


HIDDEN = Failing(404, '{"message": "Not Found"}', "application/json")
MOVED = Failing(301, '{"message": "Moved Permanently"}', "application/json")
SECONDARY = Failing(403, '{"message": "You have exceeded a secondary rate limit."}', "application/json")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (HIDDEN, NOT_ALLOWED),
        (MOVED, "GitHub's API refused (301)"),
        (edge_page(200), "GitHub's API refused (200)"),
        (SECONDARY, "accepts no more requests from this repository for 1 min (rate limit)"),
        (rate_limited(3600), "accepts no more requests from this repository for 60 min (rate limit)"),
        (Failing(401), "GitHub does not accept GITHUB_TOKEN, or no longer does"),
    ],
)
async def test_what_is_not_deleted_is_not_said_to_be(emulate: Emulate, relays: Relays, fault: Fault, said: str) -> None:
    actions = emulate()
    await filled(actions, relays)
    relay, before = await reading(actions, relays), names(actions)
    actions.plan.play(kinds.REST_DELETE, fault)

    answer = await relay.ask("DELETE", "/relay/images/app:v2")

    assert answer.error == (403, "DENIED")
    assert said in answer.message
    assert names(actions) == before


async def test_nothing_is_deleted_in_a_run_of_a_fork(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await filled(actions, relays)
    actions.runs.attempt_of(NUMBER, 1).head_repository = "fork/relay"
    relay, before = await reading(actions, relays), names(actions)

    for path in ("/relay/images/app:v1", "/relay/images?all"):
        answer = await relay.ask("DELETE", path)
        assert answer.error == (403, "DENIED")
        assert "RELAY_TRUST_FORKS=true" in answer.message

    assert names(actions) == before


@pytest.mark.parametrize("fault", [Reset(), Reset(effect=True), Failing(503), Failing(502, effect=True)])
async def test_a_deletion_without_an_answer_is_tried_again(emulate: Emulate, relays: Relays, fault: Fault) -> None:
    actions = emulate()
    await filled(actions, relays)
    relay = await reading(actions, relays)
    actions.plan.play(kinds.REST_DELETE, fault)

    assert (await relay.ask("DELETE", "/relay/images/app:v2")).status == 200

    assert names(actions) == sorted(["image-app@v1 of 7", "image-app@v1~2 of 7", *OTHERS])


async def test_access_to_read_deletes_nothing(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await filled(actions, relays)
    relay, before = await reading(actions, relays, access="read"), names(actions)

    assert (await relay.ask("DELETE", "/relay/images/app:v1")).error == (403, "DENIED")
    assert names(actions) == before
