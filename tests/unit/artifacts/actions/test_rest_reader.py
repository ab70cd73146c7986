"""Reading artifacts through REST; the other side is the emulator, and servers that answer as no GitHub would."""

import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from proxy.api.server import bind_all, listen
from proxy.artifacts.actions.github_api import GitHubApi
from proxy.artifacts.actions.rest_reader import RestReader
from proxy.artifacts.actions.rest_runs import NewestRun, NoRun, Sources, WorkflowRun
from proxy.artifacts.actions.results import NoSuchArtifact
from proxy.artifacts.base import Artifact, StoreRefused
from proxy.runtime.limits import Policy, Timeouts
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Answer, Reset, edge_page, rate_limited
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.rest import OTHER_TOKEN, READ_TOKEN
from tests.unit.fakes.caller import Caller

CONTENT = b"content" * 1000
HASTY = Timeouts(calls=Policy(attempts=3, first=0.0))
PERMISSIONS = 'give the job "permissions: {actions: read}"'
Reading = Callable[..., RestReader]


@pytest.fixture
def actions(emulate: Emulate) -> Emulator:
    return emulate()


@pytest.fixture
def caller(actions: Emulator) -> Caller:
    return Caller(actions)


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
def reading(actions: Emulator, http: ClientSession) -> Reading:
    """Make readers of the emulator."""

    def make(run: str = "1001", token: str = READ_TOKEN, repository: str = "octo/relay", **more: Any) -> RestReader:
        run_read = WorkflowRun(URL(actions.origin), repository, run)
        return RestReader(GitHubApi(http, token, HASTY), run_read, **{"kept": 0.0, **more})

    return make


@asynccontextmanager
async def answering(answer: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[URL]:
    """Serve an API that answers to everything in one way."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", handle)
    async with listen(app, bind_all(["127.0.0.1"], 0)) as port:
        yield URL(f"http://127.0.0.1:{port}")


def names(artifacts: list[Artifact]) -> list[str]:
    return sorted(artifact.name for artifact in artifacts)


def entry(number: int = 1, **other: object) -> dict[str, object]:
    return {
        "id": number,
        "name": f"name{number}",
        "size_in_bytes": 10,
        "expired": False,
        "created_at": "2026-03-04T05:06:07Z",
        "expires_at": "2026-03-07T05:06:07Z",
        **other,
    }


# Listing


async def test_all_that_has_not_expired_is_listed_of_all_attempts(
    actions: Emulator, caller: Caller, reading: Reading
) -> None:
    number = (await caller.upload("first", CONTENT)).json["artifact_id"]
    await Caller(actions, actions.job(attempt=2)).upload("second", CONTENT)
    await Caller(actions, actions.job(run=2)).upload("of another run", CONTENT)
    await caller.upload("expired", CONTENT)
    actions.expire_artifact("expired")

    found = {artifact.name: artifact for artifact in await reading().listed()}

    assert set(found) == {"first", "second"}
    assert (found["first"].id, found["first"].size, found["first"].owner) == (number, len(CONTENT), "")
    expires = found["first"].expires
    assert expires is not None
    assert expires > found["first"].created


async def test_every_page_is_read(caller: Caller, reading: Reading) -> None:
    for number in range(5):
        await caller.upload(f"name{number}", CONTENT)

    assert names(await reading(page=2).listed()) == [f"name{number}" for number in range(5)]


async def test_pages_between_which_something_changed_are_read_again(http: ClientSession) -> None:
    answers = [
        {"total_count": 2, "artifacts": [entry(1)]},
        {"total_count": 1, "artifacts": []},  # one was deleted: the rest has moved to the page before
        {"total_count": 1, "artifacts": [entry(2)]},
        {"total_count": 1, "artifacts": []},
    ]

    async with answering(lambda _: web.json_response(answers.pop(0))) as api:
        found = await RestReader(GitHubApi(http, "t"), WorkflowRun(api, "octo/relay", "1"), page=1).listed()

    assert names(found) == ["name2"]
    assert answers == []


async def test_a_run_that_changes_for_ever_is_read_so_far(http: ClientSession) -> None:
    counts = iter(range(100))

    async with answering(
        lambda request: web.json_response(
            {"total_count": next(counts), "artifacts": [entry(int(request.query["page"]))]}
        )
    ) as api:
        found = await RestReader(GitHubApi(http, "t"), WorkflowRun(api, "octo/relay", "1"), page=1, pages=2).listed()

    assert names(found) == ["name1", "name2"]
    assert next(counts) == 6


async def test_a_listing_is_kept_for_some_seconds(actions: Emulator, caller: Caller, reading: Reading) -> None:
    await caller.upload("name", CONTENT)
    reader = reading(kept=3600.0)

    assert names(await reader.listed()) == names(await reader.listed()) == ["name"]
    assert actions.traffic.calls["rest_run_artifacts"] == 1


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "text",
        7,
        [],
        {},
        entry(id="1/../2"),
        entry(id=None),
        entry(id=True),
        entry(id=-1),
        entry(name=""),
        entry(name=7),
        entry(size_in_bytes="10"),
        entry(size_in_bytes=-1),
        entry(created_at=None),
        entry(created_at="yesterday"),
    ],
)
async def test_an_entry_that_makes_no_sense_is_told_and_not_left_out(http: ClientSession, odd: object) -> None:
    document = {"total_count": 2, "artifacts": [odd, entry(7)]}

    async with answering(lambda _: web.json_response(document)) as api:
        with pytest.raises(StoreRefused, match="listed artifacts in a way that makes no sense"):
            await RestReader(GitHubApi(http, "t"), WorkflowRun(api, "octo/relay", "1")).listed()


async def test_what_has_expired_is_not_there(http: ClientSession) -> None:
    document = {"total_count": 2, "artifacts": [entry(expired=True), entry(7)]}

    async with answering(lambda _: web.json_response(document)) as api:
        (found,) = await RestReader(GitHubApi(http, "t"), WorkflowRun(api, "octo/relay", "1")).listed()

    assert found.id == "7"


@pytest.mark.parametrize("expires", [None, 7, "tomorrow"])
async def test_when_an_artifact_expires_need_not_be_known_and_times_are_utc(
    http: ClientSession, expires: object
) -> None:
    document = {"artifacts": [entry(expires_at=expires, created_at="2026-03-04T05:06:07")]}

    async with answering(lambda _: web.json_response(document)) as api:
        (found,) = await RestReader(GitHubApi(http, "t"), WorkflowRun(api, "octo/relay", "1")).listed()

    assert found.expires is None
    assert found.created.isoformat() == "2026-03-04T05:06:07+00:00"


@pytest.mark.parametrize("artifacts", [None, {}, "text", 1])
async def test_a_listing_without_a_list_is_not_called_empty(http: ClientSession, artifacts: object) -> None:
    async with answering(lambda _: web.json_response({"artifacts": artifacts})) as api:
        with pytest.raises(StoreRefused, match="makes no sense"):
            await RestReader(GitHubApi(http, "t"), WorkflowRun(api, "octo/relay", "1")).listed()


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<!DOCTYPE html>"), (200, b"[]"), (200, b"\xff"), (200, b"[" * 100_000), (204, b""), (301, b"{}")],
)
async def test_an_answer_that_is_no_document_is_a_sentence(http: ClientSession, status: int, body: bytes) -> None:
    headers = {"Location": "http://127.0.0.1:9/"} if status == 301 else {}

    async with answering(lambda _: web.Response(status=status, body=body, headers=headers)) as api:
        with pytest.raises(StoreRefused, match="are GITHUB_API_URL and GITHUB_REPOSITORY right") as refused:
            await RestReader(GitHubApi(http, "t", HASTY), WorkflowRun(api, "octo/relay", "1")).listed()

    assert f"({status})" in refused.value.message


async def test_an_answer_without_an_end_is_not_read_to_it(http: ClientSession) -> None:
    small = GitHubApi(http, "t", HASTY, largest=1000)

    async with answering(lambda _: web.json_response({"artifacts": "x" * 2000})) as api:
        with pytest.raises(StoreRefused, match="more than it should"):
            await RestReader(small, WorkflowRun(api, "octo/relay", "1")).listed()


# Who may read


@pytest.mark.parametrize(
    ("token", "repository", "run", "sentence"),
    [
        (
            "wrong",
            "octo/relay",
            "1001",
            "GitHub does not accept GITHUB_TOKEN, or no longer does: it expires with its job",
        ),
        (OTHER_TOKEN, "octo/relay", "1001", f"GITHUB_TOKEN cannot read artifacts: {PERMISSIONS}"),
        (READ_TOKEN, "octo/other", "1001", "GitHub knows no run 1001 of octo/other, or GITHUB_TOKEN cannot see it"),
        (READ_TOKEN, "octo/relay", "9", "GitHub knows no run 9 of octo/relay, or GITHUB_TOKEN cannot see it"),
    ],
)
async def test_who_may_not_read_is_told_the_line_to_change(
    actions: Emulator, reading: Reading, token: str, repository: str, run: str, sentence: str
) -> None:
    actions.job()

    with pytest.raises(StoreRefused) as refused:
        await reading(run, token, repository).listed()

    assert refused.value.message.startswith(sentence)
    assert token not in refused.value.message
    assert actions.traffic.total("rest_run_artifacts") == 1


async def test_any_other_refusal_is_told_with_its_number(actions: Emulator, reading: Reading) -> None:
    actions.job()
    actions.plan.play("rest_run_artifacts", Answer(422, '{"message": "secret"}'))

    with pytest.raises(StoreRefused, match=r"^GitHub's API refused \(422\)$"):
        await reading().listed()


# Another run


async def test_another_run_of_this_repository_is_introduced_once(
    actions: Emulator, reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    other = Caller(actions, actions.job(run=2))
    other.job.run.head_repository, other.job.run.event = "Octo/Relay", "schedule"
    await other.upload("name", CONTENT)
    reader = reading("2", another=True)

    with caplog.at_level(logging.INFO):
        assert names(await reader.listed()) == names(await reader.listed()) == ["name"]

    commit = other.job.run.head_sha[:12]
    told = f"images come from run 2 of octo/relay, made of Octo/Relay at {commit} (schedule)"
    assert [record.getMessage() for record in caplog.records if "images come" in record.getMessage()] == [told]
    assert reader.refusal == ""
    assert actions.traffic.calls["rest_run"] == 1


@pytest.mark.parametrize(
    ("head", "shown"), [("fork/relay", "fork/relay"), (None, "a repository that is gone"), ("octo/relay2", "relay2")]
)
async def test_a_run_of_a_fork_is_read_only_by_who_trusts_it(
    actions: Emulator, reading: Reading, head: str | None, shown: str
) -> None:
    other = Caller(actions, actions.job(run=2))
    await other.upload("name", CONTENT)
    other.job.run.head_repository, other.job.run.event = head, "pull_request"
    reader, artifact = reading("2", another=True), (await reading("2").listed())[0]
    actions.traffic.reset()

    for asking in (reader.listed, reader.introduce, lambda: reader.sign(artifact), lambda: reader.delete(artifact)):
        with pytest.raises(StoreRefused) as refused:
            await asking()
        assert refused.value.message.startswith("run 2 of octo/relay comes from ")
        assert shown in refused.value.message
        assert refused.value.message.endswith(
            "(pull_request); if you trust whoever made that, set RELAY_TRUST_FORKS=true"
        )
    assert actions.traffic.calls == {"rest_run": 1}
    assert names(await reading("2", another=True, trust_forks=True).listed()) == ["name"]


async def test_a_run_that_tells_nothing_of_its_head_is_nobodys(http: ClientSession) -> None:
    documents = [{"head_repository": "octo/relay", "head_sha": 7}, {"head_repository": {"full_name": None}}]

    async with answering(lambda _: web.json_response(documents.pop())) as api:
        for _ in range(2):
            reader = RestReader(GitHubApi(http, "t"), WorkflowRun(api, "octo/relay", "1"), another=True)
            with pytest.raises(StoreRefused, match=r"a repository that is gone at an unknown commit \(unknown event\)"):
                await reader.introduce()


async def test_the_own_run_needs_no_introduction(actions: Emulator, reading: Reading) -> None:
    await reading().introduce()

    assert actions.traffic.calls == {}


# The newest run of a workflow


def test_every_way_to_name_a_run_is_read_and_nothing_else() -> None:
    api = URL("https://api.github.com")

    sources = Sources.parse(api, "octo/relay", "secret", ("7", "build.yml@main", "b.yaml@a/b@c"))

    assert sources.runs == (
        WorkflowRun(api, "octo/relay", "7"),
        NewestRun(api, "octo/relay", "build.yml", "main"),
        NewestRun(api, "octo/relay", "b.yaml", "a/b@c"),
    )
    assert "secret" not in repr(sources)
    for odd in ("", "build", "build.yml", "@main", "a/b.yml@main", "b.yml@", "b.yml@a b", "\u0661", "../b.yml@m"):
        with pytest.raises(ValueError, match="is not a run"):
            Sources.parse(api, "octo/relay", "secret", (odd,))


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"id": "7"},
        {"id": True},
        {"head_repository": "octo/relay"},
        {"head_repository": None},
        {"head_branch": "other"},
        {"conclusion": None},
        {"conclusion": "failure"},
    ],
)
async def test_a_run_that_does_not_say_that_it_is_the_one_is_passed_over(http: ClientSession, odd: object) -> None:
    good = {"id": 7, "head_repository": {"full_name": "octo/relay"}, "head_branch": "main", "conclusion": "success"}
    runs = [good | {"id": 9} | odd if odd else {}, good | {"id": 8}, good]  # type: ignore[operator]

    async with answering(lambda _: web.json_response({"workflow_runs": runs})) as api:
        reader = RestReader(GitHubApi(http, "t"), NewestRun(api, "octo/relay", "b.yml", "main"), another=True)
        found = await reader.introduce()

    assert found == reader.run == WorkflowRun(api, "octo/relay", "8")


@pytest.mark.parametrize("runs", [None, {}, "text", [7]])
async def test_a_list_of_runs_that_makes_no_sense_is_not_called_empty(http: ClientSession, runs: object) -> None:
    async with answering(lambda _: web.json_response({"workflow_runs": runs})) as api:
        reader = RestReader(GitHubApi(http, "t"), NewestRun(api, "octo/relay", "b.yml", "main"), another=True)
        with pytest.raises(StoreRefused, match="makes no sense"):
            await reader.introduce()


async def test_where_there_is_no_run_github_is_asked_again_after_a_while(http: ClientSession) -> None:
    good = {"id": 7, "head_repository": {"full_name": "octo/relay"}, "head_branch": "main", "conclusion": "success"}
    answers: list[list[dict[str, object]]] = [[], [], [good]]

    async with answering(lambda _: web.json_response({"workflow_runs": answers.pop(0)})) as api:
        wanted = NewestRun(api, "octo/relay", "b.yml", "main")
        patient = RestReader(GitHubApi(http, "t"), wanted, kept=3600.0)
        for _ in range(3):
            with pytest.raises(NoRun, match=r"there is no successful run of b\.yml on main in octo/relay"):
                await patient.introduce()
        assert len(answers) == 2
        hasty = RestReader(GitHubApi(http, "t"), wanted, kept=0.0)
        with pytest.raises(NoRun):
            await hasty.introduce()
        assert (await hasty.introduce()).run_id == "7"


# Signing


async def test_the_bytes_are_read_at_the_address_of_a_redirect_that_is_not_followed(
    actions: Emulator, caller: Caller, reading: Reading, http: ClientSession
) -> None:
    await caller.upload("name", CONTENT)
    reader = reading()
    (artifact,) = await reader.listed()

    url = await reader.sign(artifact)

    assert actions.traffic.blob_requests == 2  # those of the upload
    async with http.get(url) as answer:
        assert await answer.read() == CONTENT


@pytest.mark.parametrize("status", [404, 410])
async def test_an_artifact_that_is_gone_is_told_from_a_failure(
    actions: Emulator, caller: Caller, reading: Reading, status: int
) -> None:
    await caller.upload("name", CONTENT)
    reader = reading()
    (artifact,) = await reader.listed()
    actions.plan.play("rest_zip", Answer(status))

    with pytest.raises(NoSuchArtifact):
        await reader.sign(artifact)


@pytest.mark.parametrize(
    "location", [None, "", "/relative", "https://", "http://[::1", "https://a\\@b/", "https://a:b/"]
)
async def test_a_redirect_to_nowhere_is_a_sentence(http: ClientSession, location: str | None) -> None:
    headers = {} if location is None else {"Location": location}
    artifact = Artifact("name", "1", datetime(2026, 1, 1, tzinfo=UTC), 1)

    async with answering(lambda _: web.Response(status=302, headers=headers)) as api:
        with pytest.raises(StoreRefused, match="gave no address for the bytes"):
            await RestReader(GitHubApi(http, "t"), WorkflowRun(api, "octo/relay", "1")).sign(artifact)


# Faults and limits


@pytest.mark.parametrize("fault", [Reset(), Answer(500), edge_page(), Answer(408)])
async def test_what_another_try_may_mend_is_tried_again(
    actions: Emulator, caller: Caller, reading: Reading, fault: Answer | Reset
) -> None:
    await caller.upload("name", CONTENT)
    actions.plan.play("rest_run_artifacts", fault, times=2)

    assert names(await reading().listed()) == ["name"]


async def test_patience_has_an_end(actions: Emulator, reading: Reading) -> None:
    actions.plan.play("rest_run_artifacts", Answer(502), times=3)

    with pytest.raises(StoreRefused, match=r"^GitHub's API failed \(it answered 502\); try again later$"):
        await reading().listed()


async def test_who_is_asked_to_wait_a_moment_waits(actions: Emulator, caller: Caller, reading: Reading) -> None:
    await caller.upload("name", CONTENT)
    actions.plan.play("rest_run_artifacts", rate_limited(1))

    assert names(await reading().listed()) == ["name"]
    assert actions.traffic.calls["rest_run_artifacts"] == 2


async def test_the_last_request_of_a_budget_is_not_wasted(actions: Emulator, caller: Caller, reading: Reading) -> None:
    await caller.upload("name", CONTENT)
    actions.options.rest_budget = 1

    assert names(await reading().listed()) == ["name"]


async def test_who_has_used_up_the_budget_asks_no_more_and_says_for_how_long(
    actions: Emulator, reading: Reading
) -> None:
    actions.job()
    actions.options.rest_budget = 0
    reader = reading()

    for _ in range(3):
        with pytest.raises(
            StoreRefused, match=r"^GitHub's API accepts no more requests from this repository for \d\d min"
        ):
            await reader.listed()
    assert actions.traffic.calls["rest_run_artifacts"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "soon"},
        {"Retry-After": "٣"},
        {"Retry-After": "9" * 40},
        {"x-ratelimit-remaining": "0"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "never"},
        {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "1"},
    ],
)
async def test_a_limit_that_makes_no_sense_is_none(http: ClientSession, headers: dict[str, str]) -> None:
    async with answering(lambda _: web.json_response({}, status=403, headers=headers)) as api:
        with pytest.raises(StoreRefused, match="GITHUB_TOKEN cannot read artifacts"):
            await RestReader(GitHubApi(http, "t", HASTY), WorkflowRun(api, "octo/relay", "1")).listed()


async def test_a_limit_that_has_ended_already_costs_a_second(http: ClientSession) -> None:
    answers = [
        web.json_response({}, status=429, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}),
        web.json_response({"artifacts": [entry()]}),
    ]

    async with answering(lambda _: answers.pop(0)) as api:
        found = await RestReader(GitHubApi(http, "t", HASTY), WorkflowRun(api, "octo/relay", "1")).listed()

    assert names(found) == ["name1"]


async def test_a_limit_ends_by_the_clock_of_the_server(http: ClientSession) -> None:
    ahead = time.time() + 24 * 3600
    limited = {
        "Date": format_datetime(datetime.fromtimestamp(ahead, UTC), usegmt=True),
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(int(ahead) + 1),
    }
    answers = [web.json_response({}, status=429, headers=limited), web.json_response({"artifacts": [entry()]})]

    async with answering(lambda _: answers.pop(0)) as api:
        found = await RestReader(GitHubApi(http, "t", HASTY), WorkflowRun(api, "octo/relay", "1")).listed()

    assert names(found) == ["name1"]


async def test_limits_without_an_end_end(http: ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(lambda _: web.json_response({}, status=429, headers={"Retry-After": "0"})) as api:
        with pytest.raises(StoreRefused, match="it accepts no more requests"):
            await RestReader(GitHubApi(http, "t", HASTY), WorkflowRun(api, "octo/relay", "1")).listed()


async def test_the_token_is_in_no_log_and_no_text(
    actions: Emulator, caller: Caller, reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    await caller.upload("name", CONTENT)
    actions.plan.play("rest_run_artifacts", Answer(500, json.dumps({"message": "sig=secret"})))
    reader = reading("1001", another=True)

    with caplog.at_level(logging.DEBUG):
        (artifact,) = await reader.listed()
        url = await reader.sign(artifact)

    told = f"{caplog.text} {reader!r}"
    assert READ_TOKEN not in told
    assert "sig=" not in told
    assert url.raw_query_string not in told
