"""act, Gitea and Forgejo differ from GitHub in what a client must bridge."""

import asyncio

import aiohttp
import pytest

from tests.fakes.actions.faults import Corrupt, RangeIgnored, WrongContentRange
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.unit.fakes.caller import Caller

CONTENT = bytes(range(256)) * 4096
LOCAL = [Flavour.ACT, Flavour.GITEA, Flavour.FORGEJO]


@pytest.mark.parametrize("flavour", LOCAL)
async def test_an_artifact_goes_up_and_comes_down(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))
    url = await caller.create("a name", expires_at="2999-01-01T00:00:00Z")
    for number in range(3):
        assert (await caller.put_block(url, number, CONTENT[number * 400_000 : (number + 1) * 400_000])).status == 201
    assert (await caller.commit(url, 0, 1, 2)).status == 201

    answer = (await caller.finalize("a name", CONTENT)).json

    assert set(answer) == {"ok", "artifactId"}
    assert await caller.names(name_filter="a name", id_filter=answer["artifactId"]) == ["a name"]
    assert (await caller.send("GET", await caller.sign("a name"))).body == CONTENT
    assert (await caller.call("DeleteArtifact", name="a name")).status == 200


@pytest.mark.parametrize("flavour", LOCAL)
async def test_urls_are_on_the_origin_that_was_asked_with_raw_padding(emulate: Emulate, flavour: Flavour) -> None:
    actions = emulate(flavour=flavour)
    caller = Caller(actions)

    url = await caller.create("name")

    assert url.startswith(f"{actions.origin}/twirp/github.actions.results.api.v1.ArtifactService/UploadArtifact?sig=")
    assert "=&expires=" in url
    for changed in (url.replace("=&expires", "&expires"), url.replace("=&expires", "%3D&expires")):
        assert (await caller.put_block(changed, 0, b"x")).status == 401
    assert (await caller.send("GET", url.replace("Upload", "Download"))).status == 401


@pytest.mark.parametrize("flavour", LOCAL)
async def test_urls_end(emulate: Emulate, flavour: Flavour) -> None:
    actions = emulate(flavour=flavour)
    caller = Caller(actions)
    url = await caller.create("name")

    actions.expire_urls()

    assert (await caller.put_block(url, 0, b"x")).status == 401


@pytest.mark.parametrize("flavour", LOCAL)
@pytest.mark.parametrize("key", ["mime_type", "anything"])
async def test_unknown_keys_are_an_internal_error(emulate: Emulate, flavour: Flavour, key: str) -> None:
    caller = Caller(emulate(flavour=flavour))

    answer = await caller.call("CreateArtifact", None, name="name", version=7, **{key: "application/zip"})

    assert answer.status == 500
    assert "{" not in answer.text


@pytest.mark.parametrize("flavour", LOCAL)
async def test_ids_are_numbers(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))

    assert caller.job.run.backend_id == "1001"
    assert caller.job.id.isdecimal()
    assert (await caller.call("ListArtifacts", workflow_run_backend_id="not-a-number")).status == 400


@pytest.mark.parametrize("flavour", LOCAL)
async def test_a_single_put_is_answered_and_stores_nothing(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))
    url = await caller.create("name")

    answer = await caller.send("PUT", url, CONTENT, x_ms_blob_type="BlockBlob")

    assert (answer.status, answer.body) == (200, b"")
    assert caller.emulator.traffic.calls["put_blob"] == 1


@pytest.mark.parametrize("flavour", LOCAL)
async def test_no_range_head_or_length_but_with_forgejo(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))
    await caller.upload("name", CONTENT)
    url = await caller.sign("name")

    whole = await caller.send("GET", url)
    part = await caller.send("GET", url, Range="bytes=100-199")

    if flavour is Flavour.FORGEJO:
        assert (part.status, part.body) == (206, CONTENT[100:200])
        assert part.headers["Content-Range"] == f"bytes 100-199/{len(CONTENT)}"
        assert whole.headers["Content-Length"] == str(len(CONTENT))
        assert (await caller.send("GET", url, Range=f"bytes={len(CONTENT)}-")).status == 416
        assert (await caller.send("GET", url, Range="bytes=-5")).status == 400
        caller.emulator.violations.clear()
    else:
        assert (part.status, part.body) == (200, CONTENT)
        assert "Content-Length" not in whole.headers
        assert "Content-Disposition" not in whole.headers
    assert (await caller.send("HEAD", url)).status in {404, 405}


@pytest.mark.parametrize("flavour", LOCAL)
async def test_faults_are_played_here_too(emulate: Emulate, flavour: Flavour) -> None:
    caller = Caller(emulate(flavour=flavour))
    await caller.upload("name", CONTENT)
    url = await caller.sign("name")

    caller.emulator.plan.play("get_whole", Corrupt(at=5))
    assert (await caller.send("GET", url)).body[5] == CONTENT[5] ^ 0xFF
    if flavour is Flavour.FORGEJO:
        for fault, status, place in (
            (RangeIgnored(), 200, None),
            (WrongContentRange("bytes 1-2/3"), 206, "bytes 1-2/3"),
        ):
            caller.emulator.plan.play("get_range", fault)
            answer = await caller.send("GET", url, Range="bytes=0-9")
            assert (answer.status, answer.headers.get("Content-Range")) == (status, place)


async def test_act_closes_the_line_when_there_is_no_run_yet(emulate: Emulate) -> None:
    caller = Caller(emulate(flavour=Flavour.ACT))

    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.names()
    await caller.create("name")
    assert await caller.names(name_filter="other") == []


async def test_act_asks_for_no_token_and_lists_what_is_unfinished_with_useless_sizes(emulate: Emulate) -> None:
    caller = Caller(emulate(flavour=Flavour.ACT))
    await caller.create("name")

    (listed,) = (await caller.call("ListArtifacts", "nonsense")).json["artifacts"]

    assert (listed["name"], listed["size"]) == ("name", "4096")
    assert "digest" not in listed


async def test_act_appends_blocks_as_they_come_whatever_the_list_says(emulate: Emulate) -> None:
    caller = Caller(emulate(flavour=Flavour.ACT))
    url = await caller.create("name")
    for number in (1, 0, 0):
        await caller.put_block(url, number, f"<{number}>".encode())
    await caller.commit(url, 0, 1)

    assert (await caller.finalize("name", b"anything")).status == 200

    assert (await caller.send("GET", await caller.sign("name"))).body == b"<1><0><0>"
    await caller.create("name")
    assert (await caller.send("GET", await caller.sign("name"))).body == b""


async def test_act_remembers_that_blocks_came_at_the_same_time(emulate: Emulate) -> None:
    actions = emulate(flavour=Flavour.ACT)
    caller = Caller(actions)
    url = await caller.create("name")

    await asyncio.gather(*(caller.put_block(url, number, CONTENT) for number in range(4)))

    assert set(actions.violations) == {"blocks of one artifact came at the same time to a server that appends them"}
    actions.violations.clear()


async def test_act_deletes_what_is_not_there_and_falls_over_reading_it(emulate: Emulate) -> None:
    caller = Caller(emulate(flavour=Flavour.ACT))

    assert (await caller.call("DeleteArtifact", name="name")).json["ok"]
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.send("GET", await caller.sign("name"))
