"""Gitea up to 1.25 and Forgejo, where they agree with each other and with nobody else."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.unit.fakes.caller import Caller

CONTENT = bytes(range(256)) * 4096
GITEAS = [Flavour.GITEA, Flavour.FORGEJO]


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


@pytest.mark.parametrize("flavour", GITEAS)
async def test_gitea_answers_404_and_no_json_when_there_is_nothing(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))

    for answer in (await caller.call("ListArtifacts"), await caller.call("DeleteArtifact", name="name")):
        assert (answer.status, answer.text) == (404, "Error artifact not found\n")


@pytest.mark.parametrize("flavour", GITEAS)
async def test_gitea_lists_what_is_unfinished_but_does_not_hand_it_out(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))
    await caller.create("name")

    (listed,) = (await caller.call("ListArtifacts")).json["artifacts"]

    assert listed["name"] == "name"
    assert "size" not in listed, "protojson leaves a zero out"
    assert (await caller.call("GetSignedArtifactURL", name="name")).status == 404


@pytest.mark.parametrize("flavour", GITEAS)
async def test_gitea_checks_the_hash_and_crashes_on_an_empty_list(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))
    url = await caller.create("name")
    await caller.commit(url)
    assert (await caller.finalize("name", b"")).status == 500

    await caller.put_block(url, 0, CONTENT)
    await caller.commit(url, 0)
    assert (await caller.finalize("name", b"other")).status == 500


@pytest.mark.parametrize("flavour", GITEAS)
async def test_gitea_says_yes_to_an_incomplete_upload_and_does_not_confirm_it(
    emulate: Emulate, flavour: Flavour
) -> None:
    caller = Caller(emulate(flavour=flavour))
    url = await caller.create("name")
    await caller.put_block(url, 0, CONTENT)
    await caller.commit(url, 0, 1)

    assert (await caller.finalize("name", CONTENT)).json["ok"]

    assert (await caller.call("GetSignedArtifactURL", name="name")).status == 404


@pytest.mark.parametrize("flavour", GITEAS)
async def test_gitea_mixes_up_blocks_of_the_same_id_and_size(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))
    first, second = await caller.create("first"), await caller.create("second")
    await caller.put_block(first, 0, b"first!")
    await caller.put_block(second, 0, b"second")
    await caller.commit(first, 0)

    assert (await caller.finalize("first", b"first!")).status == 500


@pytest.mark.parametrize("flavour", GITEAS)
async def test_gitea_takes_a_name_again_and_keeps_its_id(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))
    first = (await caller.upload("name", CONTENT)).json["artifactId"]

    second = (await caller.upload("name", b"other")).json["artifactId"]

    assert first == second
    assert (await caller.send("GET", await caller.sign("name"))).body == b"other"


@pytest.mark.parametrize("flavour", GITEAS)
async def test_gitea_counts_retention_in_whole_days(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))
    await caller.create("day", expires_at=in_days(1.01))

    await caller.create("hours", expires_at=in_days(0.99))

    assert await caller.names() == ["day"]


@pytest.mark.parametrize("flavour", GITEAS)
async def test_gitea_urls_end_with_their_job(emulate: Emulate, flavour: Flavour) -> None:
    actions = emulate(flavour=flavour)
    caller = Caller(actions)
    await caller.upload("name", CONTENT)
    url = await caller.sign("name")

    actions.ended_jobs.add(caller.job.id)

    assert (await caller.send("GET", url)).status == 500


@pytest.mark.parametrize("flavour", GITEAS)
async def test_gitea_checks_whose_token_it_is(emulate: Emulate, flavour: Flavour) -> None:
    actions = emulate(flavour=flavour)
    caller = Caller(actions)

    assert (await caller.call("ListArtifacts", "nonsense")).status == 401
    other = actions.job(run=2)
    assert (await caller.call("ListArtifacts", token=other.token)).status == 400
