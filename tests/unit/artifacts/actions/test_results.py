"""Calls of the results service: what each answer means, in whichever spelling, and what is told of it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from yarl import URL

from proxy.artifacts.actions.results import Listed, NameTaken, NoSuchArtifact, Refused, Unclear
from proxy.artifacts.actions.run_reader import artifact_of
from proxy.artifacts.base import StoreExpired, StoreRefused
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Answer, Reset, intermediary, no_storage_left, twirp_error
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.unit.artifacts.service import connected, service
from tests.unit.fakes.caller import Caller

DAY = timedelta(days=1)


def answering(document: object) -> Answer:
    return Answer(200, json.dumps(document), "application/json")


@pytest.mark.parametrize(
    "entry",
    [
        {
            "workflow_run_backend_id": "r",
            "workflow_job_run_backend_id": "j",
            "database_id": "5000000001",
            "name": "image-app@v1",
            "size": "123",
            "created_at": "2026-01-02T03:04:05Z",
            "digest": "sha256:00",
        },
        {
            "workflowRunBackendId": "r",
            "workflowJobRunBackendId": "j",
            "databaseId": 5000000001,
            "name": "image-app@v1",
            "size": 123,
            "createdAt": "2026-01-02T03:04:05",
            "digest": "sha256:00",
            "new": {"of": "later"},
        },
    ],
    ids=["snake", "camel"],
)
async def test_both_spellings_strings_and_numbers_are_read(emulate: Emulate, entry: object) -> None:
    actions = emulate()
    actions.plan.play(kinds.LIST, answering({"artifacts": [entry]}))

    async with connected() as http:
        (listed,) = await service(http, actions).listed()

    created = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert listed == Listed("r", "j", "5000000001", "image-app@v1", 123, created, "sha256:00")


COMPLETE = {
    "workflow_run_backend_id": "r",
    "workflow_job_run_backend_id": "j",
    "database_id": "1",
    "name": "x",
    "size": "5",
    "created_at": "2026-01-02T03:04:05Z",
    "digest": "sha256:00",
}
NEEDED = ("workflow_run_backend_id", "database_id", "name", "size", "created_at")


@pytest.mark.parametrize(
    "entries",
    [
        "odd",
        {"0": COMPLETE},
        ["odd"],
        [COMPLETE, None],
        *([COMPLETE, {key: value for key, value in COMPLETE.items() if key != lacking}] for lacking in NEEDED),
        *([COMPLETE | {key: odd}] for key, odd in (("size", "?"), ("size", "-1"), ("created_at", "yesterday"))),
    ],
)
async def test_a_listing_that_makes_no_sense_is_asked_for_again_and_never_believed(
    emulate: Emulate, entries: object
) -> None:
    actions = emulate()
    actions.plan.play(kinds.LIST, answering({"artifacts": entries}), times=9)
    actions.plan.play(kinds.LIST, answering({"artifacts": [COMPLETE]}), times=1)

    async with connected() as http:
        with pytest.raises(StoreRefused, match=r"failed \(ListArtifacts: its list .*\); try again later"):
            await service(http, actions).listed()
        (listed,) = await service(http, actions).listed()

    assert listed.name == "x"


async def test_what_a_server_leaves_out_that_lists_the_unfinished_has_its_default(emulate: Emulate) -> None:
    actions = emulate()
    entry = {"workflowRunBackendId": "r", "databaseId": 7, "name": "x", "createdAt": "2026-01-02T03:04:05Z"}
    actions.plan.play(kinds.LIST, answering({"artifacts": [entry]}))

    async with connected() as http:
        (listed,) = await service(http, actions).listed()

    assert listed == Listed("r", "", "7", "x", 0, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "", finished=False)


async def test_what_github_lists_is_finished_also_without_a_digest(emulate: Emulate) -> None:
    actions = emulate()
    entry = {key: value for key, value in COMPLETE.items() if key != "digest"}
    actions.plan.play(kinds.LIST, answering({"artifacts": [entry]}))

    async with connected() as http:
        (listed,) = await service(http, actions).listed()

    assert listed.finished
    assert artifact_of(listed).finalized


@pytest.mark.parametrize("body", ["<!DOCTYPE html><title>404</title>", '{"code":"bad_route","msg":"no such route"}'])
async def test_a_404_that_is_not_that_of_gitea_is_no_empty_run(emulate: Emulate, body: str) -> None:
    actions = emulate()
    actions.plan.play(kinds.LIST, Answer(404, body), times=3)

    async with connected() as http:
        with pytest.raises(StoreRefused, match="no artifact service of version 4"):
            await service(http, actions).listed()
        assert await service(http, actions).listed() == []


async def test_a_server_that_has_shown_artifacts_is_not_believed_to_have_none(emulate: Emulate) -> None:
    actions = emulate(flavour=Flavour.ACT)
    await Caller(actions, actions.job()).upload("x", b"content")

    async with connected() as http:
        knowing, new = service(http, actions), service(http, actions)
        (before,) = await knowing.listed()
        actions.plan.play(kinds.LIST, Reset(), times=3)
        assert await knowing.listed() == [before]
        actions.plan.play(kinds.LIST, Reset(), times=3)
        assert await new.listed() == []
        actions.plan.play(kinds.LIST, Reset(), times=8)
        with pytest.raises(StoreRefused, match="ListArtifacts"):
            await knowing.listed()


async def test_an_answer_without_an_address_is_asked_for_again(emulate: Emulate) -> None:
    actions = emulate()
    actions.plan.play(kinds.SIGN, answering({}), times=2)
    await Caller(actions, actions.job()).upload("x", b"content")

    async with connected() as http:
        asked = service(http, actions)
        (listed,) = await asked.listed()
        assert (await asked.sign(listed.run, listed.job, listed.name)).query["sp"] == "r"


@pytest.mark.parametrize("document", [{}, {"artifacts": None}, {"artifacts": []}])
async def test_nothing_is_an_empty_list(emulate: Emulate, document: object) -> None:
    actions = emulate()
    actions.plan.play(kinds.LIST, answering(document))

    async with connected() as http:
        assert await service(http, actions).listed() == []


@pytest.mark.parametrize("flavour", list(Flavour))
async def test_a_run_without_artifacts_has_none_wherever_it_is(emulate: Emulate, flavour: Flavour) -> None:
    actions = emulate(flavour=flavour)

    async with connected() as http:
        assert await service(http, actions).listed() == []


async def test_a_service_that_never_answers_is_told_with_its_call(emulate: Emulate) -> None:
    actions = emulate()
    actions.plan.play(kinds.LIST, Answer(503), times=8)

    async with connected() as http:
        with pytest.raises(StoreRefused, match=r"failed \(ListArtifacts: it answered 503\); try again later"):
            await service(http, actions).listed()

    assert actions.traffic.calls[kinds.LIST] == 8


async def test_nobody_there_is_told_too(emulate: Emulate) -> None:
    actions = emulate(flavour=Flavour.ACT)
    actions.origin = "http://127.0.0.1:1"

    async with connected() as http:
        with pytest.raises(StoreRefused, match=r"ListArtifacts: connection refused"):
            await service(http, actions).listed()


async def test_an_answer_without_end_is_not_read_to_it(emulate: Emulate) -> None:
    actions = emulate()
    actions.plan.play(kinds.LIST, Answer(200, " " * (17 * 1024 * 1024)))

    async with connected() as http:
        assert await service(http, actions).listed() == []

    assert actions.traffic.calls[kinds.LIST] == 2


async def test_a_token_that_is_refused_is_told_at_once(emulate: Emulate) -> None:
    actions = emulate()
    actions.plan.play(kinds.LIST, twirp_error(401, "unauthenticated", "expired"))

    async with connected() as http:
        with pytest.raises(StoreExpired, match="session of this job has expired"):
            await service(http, actions).listed()


async def test_a_token_that_has_expired_is_not_even_sent(emulate: Emulate) -> None:
    actions = emulate()

    async with connected() as http:
        with pytest.raises(StoreExpired, match="push earlier in the job"):
            await service(http, actions, actions.job(expires_in=-1)).listed()

    assert actions.traffic.results_calls == 0


async def test_a_create_gives_a_place_as_it_is_written(emulate: Emulate) -> None:
    actions = emulate()
    text = "https://x.blob.core.windows.net/a/b%2Fc?sig=A%2Bb%3D%3D&se=2026-01-01T00%3A00%3A00Z"
    actions.plan.play(kinds.CREATE, answering({"ok": True, "signedUploadUrl": text}))

    async with connected() as http:
        created = await service(http, actions).create("x")

    assert str(created.url) == text
    assert "sig" not in repr(created)


@pytest.mark.parametrize(
    "text", [None, "nowhere", "http://[:x", "https://x.blob.core.windows.net:x/", "https://x:1:1/"]
)
async def test_a_create_without_a_place_is_told(emulate: Emulate, text: str | None) -> None:
    actions = emulate()
    actions.plan.play(kinds.CREATE, answering({"signed_upload_url": text}))

    async with connected() as http:
        with pytest.raises(StoreRefused, match="no URL for the bytes"):
            await service(http, actions).create("x")


async def test_a_name_that_is_taken_is_told_so(emulate: Emulate) -> None:
    actions = emulate()

    async with connected() as http:
        calls = service(http, actions)
        await calls.create("x")
        with pytest.raises(NameTaken):
            await calls.create("x")


@pytest.mark.parametrize("raw", [False, True])
async def test_a_server_without_the_service_is_named(emulate: Emulate, raw: bool) -> None:
    actions = emulate()
    actions.plan.play(kinds.CREATE, Answer(404, "page not found"))

    async with connected() as http:
        with pytest.raises(StoreRefused, match="GitHub Enterprise Server"):
            await service(http, actions).create("x", raw=raw)


async def test_a_refusal_tells_method_and_status_and_nothing_of_what_the_service_said(emulate: Emulate) -> None:
    actions = emulate()
    actions.plan.play(kinds.CREATE, twirp_error(400, "invalid_argument", "##[error] name ?sig=secret"))

    async with connected() as http:
        with pytest.raises(Refused) as refused:
            await service(http, actions).create("x")

    assert refused.value.message == "the artifact service refused (CreateArtifact: 400)"


async def test_used_up_storage_is_never_asked_twice(emulate: Emulate) -> None:
    actions = emulate()
    actions.plan.play(kinds.CREATE, no_storage_left())

    async with connected() as http:
        with pytest.raises(StoreRefused, match="used up"):
            await service(http, actions).create("x")

    assert actions.traffic.calls[kinds.CREATE] == 1


async def test_a_bare_create_that_goes_on_failing_is_told(emulate: Emulate) -> None:
    actions = emulate()
    actions.plan.play(kinds.CREATE, intermediary(), times=8)

    async with connected() as http:
        with pytest.raises(StoreRefused, match="CreateArtifact: it answered 403"):
            await service(http, actions).create("x", raw=True)


@pytest.mark.parametrize("fault", [Reset(), Answer(503), intermediary(), answering({}), Answer(200, "<html>")])
async def test_a_finish_without_a_clear_answer_is_tried_once_and_told(emulate: Emulate, fault: Answer) -> None:
    actions = emulate()
    actions.plan.play(kinds.FINALIZE, fault)

    async with connected() as http:
        with pytest.raises(Unclear):
            await service(http, actions).finalize("x", 1, "00", 1.0)

    assert actions.traffic.calls[kinds.FINALIZE] == 1


async def test_what_is_not_there_can_not_be_signed_and_need_not_be_deleted(emulate: Emulate) -> None:
    actions = emulate()
    job = actions.job()

    async with connected() as http:
        calls = service(http, actions, job)
        with pytest.raises(NoSuchArtifact):
            await calls.sign(job.run.backend_id, job.id, "x")
        await calls.delete(job.run.backend_id, job.id, "x")


async def test_the_clock_of_the_service_counts(emulate: Emulate) -> None:
    actions = emulate()
    date = "Wed, 01 Jan 2031 00:00:00 GMT"
    actions.plan.play(kinds.LIST, Answer(200, "{}", "application/json", {"Date": date}))
    actions.plan.play(kinds.LIST, Answer(200, "{}", "application/json", {"Date": "today"}))

    async with connected() as http:
        calls = service(http, actions)
        assert abs(calls.now() - datetime.now(UTC)) < timedelta(minutes=1)
        await calls.listed()
        await calls.listed()

    assert abs(calls.now() - datetime(2031, 1, 1, tzinfo=UTC)) < timedelta(minutes=1)


async def test_a_retention_that_is_not_allowed_is_left_to_the_service(emulate: Emulate) -> None:
    actions = emulate(max_retention_days=1)

    async with connected() as http:
        created = await service(http, actions, retention=timedelta(days=9)).create("x")

    assert isinstance(created.url, URL)
    assert actions.traffic.calls[kinds.CREATE] == 2


async def test_a_name_is_taken_only_where_one_is_asked_for(emulate: Emulate) -> None:
    actions = emulate()
    actions.plan.play("*Artifact*", Answer(409), times=3)

    async with connected() as http:
        results = service(http, actions)
        for call in (results.listed(), results.sign("run", "job", "x"), results.delete("run", "job", "x")):
            with pytest.raises(StoreRefused, match=r"the artifact service refused \(.*: 409\)"):
                await call


async def test_a_service_that_falls_over_for_want_of_artifacts_is_asked_once_from_then_on(emulate: Emulate) -> None:
    actions = emulate(flavour=Flavour.ACT)
    job = actions.job()

    async with connected() as http:
        first = service(http, actions, job)
        calls = [(await first.listed(), dict(actions.traffic.calls)[kinds.LIST])]
        calls.append((await first.listed(), dict(actions.traffic.calls)[kinds.LIST]))
        later = service(http, actions, job)
        later.learn(first)
        calls.append((await later.listed(), dict(actions.traffic.calls)[kinds.LIST]))

    assert calls == [([], 3), ([], 4), ([], 5)]


async def test_what_was_learnt_of_one_run_says_nothing_of_another(emulate: Emulate) -> None:
    first, second = emulate(flavour=Flavour.ACT), emulate(flavour=Flavour.ACT)

    async with connected() as http:
        known = service(http, first)
        await known.listed()
        other = service(http, second)
        other.learn(known)
        await other.listed()

    assert second.traffic.calls[kinds.LIST] == 3
