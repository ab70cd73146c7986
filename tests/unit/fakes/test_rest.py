"""REST as GitHub serves it to whoever reads artifacts of a run."""

import asyncio

import pytest

from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import rate_limited
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.rest import OTHER_TOKEN, READ_TOKEN, WRITE_TOKEN
from tests.unit.fakes.caller import Caller, hash_of

CONTENT = b"content" * 1000
ACTIONS = "/repos/octo/relay/actions"


@pytest.fixture
def actions(emulate: Emulate) -> Emulator:
    return emulate()


@pytest.fixture
def caller(actions: Emulator) -> Caller:
    return Caller(actions)


async def listed(caller: Caller, path: str) -> list[str]:
    return [artifact["name"] for artifact in (await caller.rest(f"{ACTIONS}{path}")).json["artifacts"]]


async def test_an_artifact_has_the_fields_of_the_document(actions: Emulator, caller: Caller) -> None:
    number = int((await caller.upload("name", CONTENT)).json["artifact_id"])

    (found,) = (await caller.rest(f"{ACTIONS}/runs/1001/artifacts")).json["artifacts"]

    assert (found["id"], found["name"], found["size_in_bytes"]) == (number, "name", len(CONTENT))
    assert (found["digest"], found["expired"]) == (hash_of(CONTENT), False)
    assert found["archive_download_url"] == f"{actions.origin}{ACTIONS}/artifacts/{number}/zip"
    assert found["workflow_run"]["id"] == 1001
    assert (await caller.rest(f"{ACTIONS}/artifacts/{number}")).json == found


async def test_a_run_tells_whose_head_it_is(actions: Emulator, caller: Caller) -> None:
    caller.job.run.head_repository = "fork/relay"
    caller.job.run.event, caller.job.run.conclusion = "pull_request", "success"

    found = (await caller.rest(f"{ACTIONS}/runs/1001")).json

    assert (found["id"], found["event"], found["conclusion"]) == (1001, "pull_request", "success")
    assert found["head_repository"]["full_name"] == "fork/relay"
    assert len(found["head_sha"]) == 40
    assert (await caller.rest(f"{ACTIONS}/runs/9")).status == 404


async def test_lists_are_of_the_run_or_of_the_repository_newest_first(actions: Emulator, caller: Caller) -> None:
    rerun, other = Caller(actions, actions.job(attempt=2)), Caller(actions, actions.job(run=2))
    for each, name in ((caller, "one"), (rerun, "one"), (other, "two")):
        await each.upload(name, CONTENT)
    await caller.create("unfinished")

    assert await listed(caller, "/runs/1001/artifacts") == ["one", "one"]
    assert await listed(caller, "/artifacts") == ["two", "one", "one"]
    assert await listed(caller, "/artifacts?name=two") == ["two"]
    assert await listed(caller, "/artifacts?direction=asc&per_page=1") == ["one"]


async def test_long_lists_have_pages(caller: Caller) -> None:
    for number in range(5):
        await caller.upload(f"name{number}", CONTENT)

    first = await caller.rest(f"{ACTIONS}/runs/1001/artifacts?per_page=2")
    last = await caller.rest(f"{ACTIONS}/runs/1001/artifacts?per_page=2&page=3")

    assert first.json["total_count"] == last.json["total_count"] == 5
    assert (len(first.json["artifacts"]), len(last.json["artifacts"])) == (2, 1)
    assert first.headers["Link"].endswith('/artifacts?per_page=2&page=2>; rel="next"')
    assert "Link" not in last.headers


async def test_the_runs_of_a_workflow_are_listed_newest_first_by_branch_and_by_how_they_ended(
    actions: Emulator, caller: Caller
) -> None:
    for number in range(1, 5):
        run = actions.job(run=number).run
        run.status, run.conclusion = "completed", "success" if number != 3 else "failure"
    actions.job(run=2).run.head_branch = "feature"
    actions.job(run=4).run.head_repository = "fork/relay"
    actions.job(run=5).run.workflow = "other.yml"

    async def runs(query: str) -> list[int]:
        found = (await caller.rest(f"{ACTIONS}/workflows/build.yml/runs{query}")).json
        return [run["id"] for run in found["workflow_runs"]]

    assert await runs("") == [4, 3, 2, 1, 1001]
    assert await runs("?branch=main&status=success") == [4, 1]
    assert await runs("?status=in_progress") == [1001]
    assert await runs("?per_page=2&page=2") == [2, 1]
    assert (await caller.rest(f"{ACTIONS}/workflows/absent.yml/runs")).status == 404
    assert (await caller.rest(f"{ACTIONS}/workflows/build.yml/runs", token=OTHER_TOKEN)).status == 403


async def test_a_download_is_a_redirect_to_a_url_for_a_minute(actions: Emulator, caller: Caller) -> None:
    number = (await caller.upload("name", CONTENT)).json["artifact_id"]

    answer = await caller.rest(f"{ACTIONS}/artifacts/{number}/zip")

    assert (answer.status, answer.body) == (302, b"")
    url = answer.headers["Location"]
    assert (await caller.send("GET", url)).body == CONTENT
    assert (await caller.send("GET", url, Authorization=f"Bearer {READ_TOKEN}")).status == 403
    assert actions.violations == ["a token was sent to blob storage"]
    actions.violations.clear()
    actions.options.rest_lifetime = -1
    url = (await caller.rest(f"{ACTIONS}/artifacts/{number}/zip")).headers["Location"]
    assert (await caller.send("GET", url)).status == 403


async def test_expired_artifacts_are_listed_but_gone(actions: Emulator, caller: Caller) -> None:
    number = (await caller.upload("name", CONTENT)).json["artifact_id"]

    actions.expire_artifact("name")

    assert (await caller.rest(f"{ACTIONS}/artifacts/{number}")).json["expired"]
    assert (await caller.rest(f"{ACTIONS}/artifacts/{number}/zip")).status == 410


async def test_who_may_do_what(actions: Emulator, caller: Caller) -> None:
    number = (await caller.upload("name", CONTENT)).json["artifact_id"]
    one = f"{ACTIONS}/artifacts/{number}"

    assert (await caller.rest(one, token=None)).status == 404
    assert (await caller.rest(one, "wrong")).status == 401
    assert (await caller.rest(one, token=OTHER_TOKEN)).status == 403
    assert (await caller.rest(f"{one}/zip", token=None)).status == 401
    assert (await caller.rest(one, READ_TOKEN, "DELETE")).status == 403
    assert (await caller.rest("/repos/octo/other/actions/artifacts")).status == 404
    actions.options.public = True
    assert (await caller.rest(one, token=None)).status == 200
    assert (await caller.rest(f"{one}/zip", token=None)).status == 401
    assert (await caller.rest(one, WRITE_TOKEN, "DELETE")).status == 204
    for path in (one, f"{one}/zip"):
        assert (await caller.rest(path)).status == 404
    assert (await caller.rest(one, WRITE_TOKEN, "DELETE")).status == 404
    assert await caller.names() == []


async def test_the_budget_runs_out(actions: Emulator, caller: Caller) -> None:
    actions.options.rest_budget = 2

    answers = [await caller.rest(f"{ACTIONS}/artifacts") for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 403]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert int(answers[2].headers["x-ratelimit-reset"]) > 0
    assert "rate limit exceeded" in answers[2].text


async def test_faults_are_played_here_too(actions: Emulator, caller: Caller) -> None:
    actions.plan.play("rest_run", rate_limited(60))

    answer = await caller.rest(f"{ACTIONS}/runs/1001")

    assert (answer.status, answer.headers["Retry-After"]) == (429, "60")
    assert actions.traffic.calls["rest_run"] == 1


async def test_a_client_without_a_name_is_refused(actions: Emulator) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(actions.origin.rpartition(":")[2]))
    writer.write(f"GET {ACTIONS}/artifacts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert b" 403 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
