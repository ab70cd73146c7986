"""The results service is as strict as GitHub's, or stricter."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.tokens import mint
from tests.unit.fakes.caller import Caller, hash_of

CONTENT = b"some bytes" * 100


@pytest.fixture
def actions(emulate: Emulate) -> Emulator:
    return emulate()


@pytest.fixture
def caller(actions: Emulator) -> Caller:
    return Caller(actions)


def message(code: str, text: str) -> dict[str, str]:
    return {"code": code, "msg": text}


TAKEN = message("already_exists", "an artifact with this name already exists on the workflow run")
NOT_FOUND = message("not_found", "artifact not found")


async def test_what_is_finalized_is_listed_with_all_its_fields(caller: Caller) -> None:
    answer = await caller.upload("name", CONTENT)

    assert answer.json == {"ok": True, "artifact_id": "5000000001"}
    (listed,) = (await caller.call("ListArtifacts")).json["artifacts"]
    created = datetime.fromisoformat(listed.pop("created_at"))
    assert abs(datetime.now(UTC) - created) < timedelta(seconds=10)
    assert listed == {
        "workflow_run_backend_id": caller.job.run.backend_id,
        "workflow_job_run_backend_id": caller.job.id,
        "database_id": "5000000001",
        "name": "name",
        "size": str(len(CONTENT)),
        "digest": hash_of(CONTENT),
    }


async def test_what_is_not_finalized_is_invisible_but_its_name_is_taken(caller: Caller) -> None:
    url = await caller.create("name")
    await caller.put_block(url, 0, CONTENT)
    await caller.commit(url, 0)

    assert await caller.names() == []
    assert (await caller.call("GetSignedArtifactURL", name="name")).json == NOT_FOUND
    assert (await caller.call("DeleteArtifact", name="name")).status == 404
    again = await caller.call("CreateArtifact", name="name", version=4)
    assert (again.status, again.json) == (409, TAKEN)


async def test_a_name_is_taken_for_the_other_jobs_of_the_attempt_too(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    other = Caller(actions, actions.job("other"))
    rerun = Caller(actions, actions.job("build", attempt=2))

    assert (await other.call("CreateArtifact", name="name", version=4)).status == 409
    assert (await rerun.call("CreateArtifact", name="name", version=4)).status == 200
    actions.options.unique_across_attempts = True
    assert (await rerun.call("CreateArtifact", name="name", version=4)).status == 409


async def test_names_may_be_made_to_ignore_case(actions: Emulator, caller: Caller) -> None:
    await caller.create("name")

    assert (await caller.call("CreateArtifact", name="Name", version=4)).status == 200
    actions.options.ignore_case = True
    assert (await caller.call("CreateArtifact", name="NAME", version=4)).status == 409


@pytest.mark.parametrize("name", ["", "x" * 257])
async def test_the_length_of_a_name_is_limited(caller: Caller, name: str) -> None:
    answer = await caller.call("CreateArtifact", name=name, version=4)

    text = "name invalid length for artifact name: must be between 1 and 256 characters"
    assert (answer.status, answer.json) == (400, message("invalid_argument", text))


@pytest.mark.parametrize("character", list('":<>|*?\r\n\\/'))
async def test_some_characters_are_not_for_names(caller: Caller, character: str) -> None:
    assert (await caller.call("CreateArtifact", name=f"a{character}b", version=4)).status == 400


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"version": 7, "mime_type": "application/octet-stream"}, 200),
        ({"version": 7}, 400),
        ({"version": 7, "mime_type": "application/zstd"}, 400),
        ({"version": 4, "mime_type": "application/zip", "later_field": 1}, 200),
        ({"version": 5}, 400),
        ({"version": "4"}, 400),
        ({"version": 4, "expires_at": "2020-01-01T00:00:00Z"}, 400),
        ({"version": 4, "expires_at": "2999-01-01T00:00:00Z"}, 400),
        ({"version": 4, "expires_at": "tomorrow"}, 400),
        ({"version": 4, "name": 5}, 400),
    ],
)
async def test_the_fields_of_a_create_are_checked(caller: Caller, fields: dict[str, object], status: int) -> None:
    assert (await caller.call("CreateArtifact", None, **{"name": "name", **fields})).status == status


@pytest.mark.parametrize("size", [str(len(CONTENT) + 1), len(CONTENT)])
async def test_the_size_must_be_right_and_written_as_a_string(caller: Caller, size: object) -> None:
    url = await caller.create("name")
    await caller.put_block(url, 0, CONTENT)
    assert (await caller.finalize("name", CONTENT)).status == 400, "nothing was committed"
    await caller.commit(url, 0)

    assert (await caller.finalize("name", CONTENT, size=size)).status == 400
    assert (await caller.finalize("name", CONTENT)).status == 200


async def test_the_hash_is_compared_when_that_is_switched_on(actions: Emulator, caller: Caller) -> None:
    url = await caller.create("name")
    await caller.put_block(url, 0, CONTENT)
    await caller.commit(url, 0)
    actions.options.check_digest = True

    assert (await caller.finalize("name", CONTENT, hash=hash_of(b"other"))).status == 400
    actions.options.check_digest = False
    assert (await caller.finalize("name", CONTENT, hash=hash_of(b"other"))).status == 200


async def test_a_finalize_that_is_repeated_makes_a_second_artifact(actions: Emulator, caller: Caller) -> None:
    first = (await caller.upload("name", CONTENT)).json["artifact_id"]

    second = (await caller.finalize("name", CONTENT)).json["artifact_id"]

    assert int(second) > int(first)
    assert await caller.names() == ["name", "name"]
    assert (await caller.call("DeleteArtifact", name="name")).json["artifact_id"] == second
    assert (await caller.send("GET", await caller.sign("name"))).body == CONTENT
    actions.options.duplicate_on_finalize = False
    assert (await caller.finalize("name", CONTENT)).json["artifact_id"] == first


async def test_filters_are_exact(caller: Caller) -> None:
    number = (await caller.upload("name", CONTENT)).json["artifact_id"]
    await caller.upload("name~2", CONTENT)

    assert await caller.names() == ["name", "name~2"]
    assert await caller.names(name_filter="name") == ["name"]
    assert await caller.names(id_filter=number) == ["name"]
    assert await caller.names(name_filter="Name") == []


async def test_other_runs_see_nothing(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    stranger = Caller(actions, actions.job(run=2))
    ids = {"workflow_run_backend_id": caller.job.run.backend_id, "workflow_job_run_backend_id": caller.job.id}

    assert await stranger.names() == []
    assert (await stranger.call("ListArtifacts", **ids)).status == 403
    assert (await stranger.call("GetSignedArtifactURL", name="name", **ids)).json == NOT_FOUND
    assert (await stranger.call("DeleteArtifact", name="name", **ids)).status == 404


async def test_an_artifact_is_asked_for_with_the_ids_of_the_job_that_made_it(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    reader = Caller(actions, actions.job("reader"))
    (listed,) = (await reader.call("ListArtifacts")).json["artifacts"]
    ids = {key: value for key, value in listed.items() if key.endswith("backend_id")}

    assert (await reader.call("GetSignedArtifactURL", name="name")).json == NOT_FOUND
    url = (await reader.call("GetSignedArtifactURL", name="name", **ids)).json["signed_url"]
    assert (await reader.send("GET", url)).body == CONTENT
    assert (await reader.call("CreateArtifact", name="new", version=4, **ids)).status == 403


async def test_a_rerun_sees_earlier_attempts_unless_all_jobs_run_again(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    rerun = Caller(actions, actions.job("build", attempt=2))

    assert await rerun.names() == ["name"]
    rerun.job.run.sees_earlier = False
    assert await rerun.names() == []
    assert await caller.names() == ["name"]


async def test_a_deleted_artifact_frees_its_name_and_its_bytes(caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    url = await caller.sign("name")

    assert (await caller.call("DeleteArtifact", name="name")).json == {"ok": True, "artifact_id": "5000000001"}

    assert (await caller.call("DeleteArtifact", name="name")).json == NOT_FOUND
    assert (await caller.send("GET", url)).status == 404
    assert (await caller.upload("name", CONTENT)).json["artifact_id"] == "5000000002"


async def test_delete_may_be_made_to_free_a_reserved_name(actions: Emulator, caller: Caller) -> None:
    await caller.create("name")
    actions.options.delete_frees_unfinished = True

    assert (await caller.call("DeleteArtifact", name="name")).status == 200
    assert (await caller.call("CreateArtifact", name="name", version=4)).status == 200


async def test_what_is_finalized_may_be_made_to_appear_late(actions: Emulator, caller: Caller) -> None:
    actions.options.listed_after = 3600
    await caller.upload("name", CONTENT)

    assert await caller.names() == []
    actions.options.listed_after = 0
    assert await caller.names() == ["name"]


async def test_expired_artifacts_are_not_listed(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)

    actions.expire_artifact("name")

    assert await caller.names() == []


@pytest.mark.parametrize("token", ["nonsense", mint("run", "job", -1), mint("run", "job", key=b"another")])
async def test_a_token_that_is_none_expired_or_forged_is_refused(caller: Caller, token: str) -> None:
    answer = await caller.call("ListArtifacts", token=token)

    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert token not in answer.text


async def test_a_token_minted_by_hand_is_a_run_of_its_own(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    ids = {"workflow_run_backend_id": "my-run", "workflow_job_run_backend_id": "my-job"}
    token = mint("my-run", "my-job")

    assert (await caller.call("ListArtifacts", token=token, **ids)).json == {"artifacts": []}
    assert (await caller.call("CreateArtifact", token=token, name="name", version=4, **ids)).status == 200


async def test_only_known_methods_in_json_are_calls(actions: Emulator, caller: Caller) -> None:
    unknown = await caller.call("ListEverything")
    plain = await caller.send("POST", f"{actions.origin}/twirp/github.actions.results.api.v1.ArtifactService/x", b"")

    assert (unknown.status, unknown.json["code"]) == (404, "bad_route")
    assert plain.status in {401, 404}
    assert actions.traffic.results_calls == 0
