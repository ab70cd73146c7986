"""Images of other runs (RELAY_FROM): pulled where the own run has none, and never taken for stored in it."""

import asyncio
import shutil
from typing import Any

import pytest
from aiohttp import encode_basic_auth

from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from proxy.spool.staging import WIDTH
from tests.actions_store.relays import Relays, blob_of, pulled
from tests.api.relay import MIB, Answer, Pushed, Relay, described, document, eventually, pushed_image
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import rate_limited
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.rest import OTHER_TOKEN, READ_TOKEN
from tests.fakes.actions.runs import Run
from tests.registry_harness import noise
from tests.tarballs import Sample, legacy_save

MAIN = "build.yml@main"
HEADER = "Image-Relay-From"
TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json")
ENGINE = {"Accept": ", ".join([*TYPES, "*/*"]), "User-Agent": "containerd/2.1.9"}
PUSHERS = {
    "containerd": {"Accept": f"{TYPES[0]}, */*", "User-Agent": "docker/28.5.2 containerd-client/2.1.9"},
    "buildkit": {"Accept": f"{TYPES[1]}, */*", "User-Agent": "buildkit/v0.25"},
    "crane": {"Accept": ",".join([*TYPES, "text/plain"]), "User-Agent": "crane/v0.20 go-containerregistry/v0.20"},
    "regctl": {"Accept": ",".join([*TYPES, "text/plain"]), "User-Agent": "regclient/regctl (v0.11)"},
    "curl": {},
}
LAYERS = (noise(3 * MIB, 1), noise(5 * MIB, 2))


def ended(run: Run, conclusion: str = "success", **more: Any) -> Run:
    """Let a run be over."""
    run.status, run.conclusion = "completed", conclusion
    for name, value in more.items():
        setattr(run, name, value)
    return run


async def good_run(actions: Emulator, relays: Relays, number: int, *tags: str, **more: Any) -> Pushed:
    """Push an image in a run that then ends well."""
    job = actions.job(run=number)
    image = await (await relays.start(actions, job)).push_image(*(tags or ("v1",)), **more)
    ended(job.run)
    actions.traffic.reset()
    return image


async def start(actions: Emulator, relays: Relays, *sources: str, token: str = READ_TOKEN, **more: Any) -> Relay:
    """Start a relay of the own run that reads other runs."""
    relays.secrets.add(token)
    settings: dict[str, Any] = {"from": sources or (MAIN,), **more}
    return await relays.start(actions, token=token, **settings)


def rest_calls(actions: Emulator) -> int:
    return actions.traffic.total(*kinds.REST)


# Which run


async def test_the_newest_good_run_of_a_branch_is_read(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await good_run(actions, relays, 7, layers=[b"old"])
    wanted = await good_run(actions, relays, 8, layers=[b"wanted"])
    for number, conclusion, more in (
        (9, "failure", {}),
        (10, "cancelled", {}),
        (11, "success", {"head_repository": "fork/relay"}),  # its branch is called main, too
        (12, "success", {"head_repository": None}),  # of a fork that was deleted
        (13, "success", {"head_branch": "feature"}),
        (14, "success", {"workflow": "other.yml"}),
        (15, None, {"status": "in_progress"}),
    ):
        job = actions.job(run=number)
        await (await relays.start(actions, job)).push_image("v1", layers=[str(number).encode()])
        ended(job.run, conclusion, **more)  # type: ignore[arg-type]

    found = await (await start(actions, relays)).get("v1")

    assert found.body == wanted.content
    assert found.headers[HEADER] == "run 8 of octo/relay"


async def test_a_good_run_is_found_behind_five_hundred_of_forks(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    wanted = await good_run(actions, relays, 7)
    for number in range(2000, 2510):
        ended(actions.runs.attempt_of(number, 1), head_repository="fork/relay")
    relay = await start(actions, relays)

    assert (await relay.get("v1")).body == wanted.content
    assert actions.traffic.calls[kinds.REST_RUNS] == 6
    assert (await relay.get("v2")).status == 404
    assert actions.traffic.calls[kinds.REST_RUNS] == 6  # it is looked for once


@pytest.mark.parametrize("others", [0, 30])
@pytest.mark.parametrize("source", [MAIN, "7"])
async def test_a_pull_takes_three_requests_to_the_api_and_the_next_one_none(
    emulate: Emulate, relays: Relays, source: str, others: int
) -> None:
    actions = emulate()
    writer = await relays.start(actions, actions.job(run=7))
    for number in range(others):  # of this repository, of others, and an older version of the tag
        await writer.push_image("v1" if number == 10 else f"other-{number}", name=f"app{number % 2 or ''}")
    await good_run(actions, relays, 7, "v1", layers=LAYERS)
    await writer.push_image("last")
    actions.traffic.reset()
    for number in range(2000, 2600):
        ended(actions.runs.attempt_of(number, 1), "failure")
    relay = await start(actions, relays, source)

    head = await relay.ask("HEAD", "/v2/app/manifests/v1", headers=ENGINE)
    await pulled(relay, head.headers["Docker-Content-Digest"])
    first = rest_calls(actions)
    await pulled(relay, "v1")

    assert (first, rest_calls(actions)) == (3, 3)


async def test_a_run_stays_the_same_for_as_long_as_a_relay_runs(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7, layers=[b"one"])
    relay = await start(actions, relays)
    assert (await relay.get("v1")).body == image.content

    await good_run(actions, relays, 8, layers=[b"two"])
    await good_run(actions, relays, 9, "v2")

    assert (await relay.get("v1")).body == image.content
    assert (await relay.get("v2")).status == 404


async def test_runs_are_asked_in_their_order(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    first = await good_run(actions, relays, 7, "both", "one", layers=[b"first"])
    second = await good_run(actions, relays, 8, "both", "two", layers=[b"second"])

    relay = await start(actions, relays, "7", MAIN)
    found = {tag: await relay.get(tag) for tag in ("both", "one", "two")}
    turned = await (await start(actions, relays, MAIN, "7")).get("both")

    assert {tag: answer.body for tag, answer in found.items()} == {
        "both": first.content,
        "one": first.content,
        "two": second.content,
    }
    assert (found["both"].headers[HEADER], found["two"].headers[HEADER]) == (
        "run 7 of octo/relay",
        "run 8 of octo/relay",
    )
    assert turned.body == second.content


async def test_a_first_run_that_does_not_exist_yet_is_passed_over_and_looked_for_again(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7)
    relay = await start(actions, relays, "build.yml@release", "7")

    assert (await relay.get("v1")).body == image.content
    assert (await relay.get("v2")).message.endswith(" Nor is it in build.yml@release, run 7 of octo/relay.")
    assert actions.traffic.calls[kinds.REST_RUNS] == 1  # for a minute


# The own run first


async def test_a_name_of_the_own_run_always_wins_and_is_not_said_to_come_from_elsewhere(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    other = await good_run(actions, relays, 7, layers=[b"other"])
    relay = await start(actions, relays)
    assert (await relay.get("v1")).body == other.content

    own = await relay.push_image("v1", layers=[b"own"])
    found = await relay.get("v1")

    assert (found.body, HEADER in found.headers) == (own.content, False)
    assert (await relay.get(other.digest)).body == other.content


async def test_listings_are_of_the_own_run_alone(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await good_run(actions, relays, 7, "v1", "v2")
    await good_run(actions, relays, 8, name="other")
    relay = await start(actions, relays, "7", "8")
    assert (await relay.get("v1")).status == 200
    assert (await relay.ask("GET", "/v2/app/tags/list")).status == 404

    await relay.push_image("v3")

    assert (await relay.ask("GET", "/v2/app/tags/list")).json["tags"] == ["v3"]
    assert (await relay.ask("GET", "/v2/_catalog")).json["repositories"] == ["app"]
    (image,) = (await relay.ask("GET", "/relay/images")).json["images"]
    assert image["references"] == ["app:v3"]


async def test_nothing_of_another_run_is_deleted(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7, layers=[b"layer"])
    relay = await start(actions, relays)
    before = len(actions.ledger.records)
    assert (await relay.get("v1")).status == 200

    for path in (
        "/v2/app/manifests/v1",
        f"/v2/app/manifests/{image.digest}",
        f"/v2/app/blobs/{Digest.of(b'layer')}",
        "/relay/images/app:v1",
    ):
        assert (await relay.ask("DELETE", path)).status == 404
    for query in ("all", "superseded"):
        assert (await relay.ask("DELETE", f"/relay/images?{query}")).json["removed"] == []

    assert len(actions.ledger.records) == before
    assert actions.traffic.calls[kinds.DELETE] == actions.traffic.calls[kinds.REST_DELETE] == 0
    assert (await relay.get("v1")).body == image.content


async def test_who_waits_for_an_image_of_this_run_does_not_get_an_older_one(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    old = await good_run(actions, relays, 7, layers=[b"old"])
    limits = Limits(listing_fresh=0.0, wait_pauses=(0.05,))
    consumer = await start(actions, relays, wait=30, limits=limits)
    producer = await relays.start(actions, actions.job("producer"))
    pulling = asyncio.create_task(consumer.ask("GET", "/v2/app/manifests/v1", allow_redirects=True))
    await eventually(lambda: bool(consumer.services.pull_wait.tags))

    new = await producer.push_image("v1", layers=[b"new"])

    assert (await pulling).body == new.content
    in_vain = await start(actions, relays, wait=0.1, limits=limits)
    assert (await in_vain.get("v1")).body == new.content
    await producer.ask("DELETE", "/v2/app/manifests/v1")
    assert (await (await start(actions, relays, wait=0.1, limits=limits)).get("v1")).body == old.content


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_what_is_asked_of_the_own_run_alone_is_not_found_elsewhere(
    emulate: Emulate, relays: Relays, method: str
) -> None:
    actions = emulate()
    await good_run(actions, relays, 7)
    relay = await start(actions, relays)

    for path in ("/relay/images/app:v1", "/v2/app/manifests/v1"):
        assert (await relay.ask(method, f"{path}?own")).status == 404
    assert (await relay.ask(method, "/relay/images/app:v1")).headers[HEADER] == "run 7 of octo/relay"


# What a push makes of it


@pytest.mark.parametrize("client", PUSHERS)
async def test_who_looks_before_a_push_is_not_told_that_an_image_is_there(
    emulate: Emulate, relays: Relays, client: str
) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7)
    relay = await start(actions, relays)
    assert (await relay.get("v1")).status == 200  # so that it is known

    for reference in ("v1", image.digest):
        asked = await relay.ask("HEAD", f"/v2/app/manifests/{reference}", headers=PUSHERS[client])
        assert asked.status == 404


async def stored_alone(actions: Emulator, relays: Relays, image: Pushed, *layers: bytes) -> None:
    """Pull from the own run alone, with the other one gone."""
    actions.ledger.records = [each for each in actions.ledger.records if actions.runs.known(each.run).number != 7]
    found = await pulled(await relays.start(actions, actions.job("deploy")), "new")
    assert found["manifest"] == image.content
    assert {str(Digest.of(layer)) for layer in layers} <= found.keys()


async def push_on_top(relay: Relay, actions: Emulator) -> tuple[Pushed, bytes]:
    """Push an image that has one more layer than that of the other run, as clients do: they ask before they send."""
    own = noise(2 * MIB, 3)
    actions.traffic.reset()
    for layer in LAYERS:
        assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(layer)}")).status == 200
    assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(own)}")).status == 404
    config = b'{"os":"linux","architecture":"amd64"}'
    for content in (config, own):
        await relay.push_blob(content)
    return await relay.push(pushed_image(config, *LAYERS, own), "new"), own


@pytest.mark.parametrize("known", [True, False], ids=["pulled before", "not pulled before"])
async def test_layers_of_another_run_are_copied_inside_the_storage_and_belong_to_the_own_run_then(
    emulate: Emulate, relays: Relays, known: bool
) -> None:
    actions = emulate()
    await good_run(actions, relays, 7, layers=LAYERS)
    relay = await start(actions, relays)
    if known:
        assert (await relay.get("v1")).status == 200

    image, own = await push_on_top(relay, actions)

    assert actions.traffic.calls[kinds.COPY_BLOCK] == 2
    assert actions.traffic.received[kinds.PUT_BLOCK] < 2.1 * MIB
    await stored_alone(actions, relays, image, *LAYERS, own)


async def test_layers_of_another_run_are_copied_from_another_account_of_the_storage(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate(elsewhere=True)
    await good_run(actions, relays, 7, layers=LAYERS)
    actions.options.elsewhere = False
    relay = await start(actions, relays)

    image, own = await push_on_top(relay, actions)

    assert actions.traffic.calls[kinds.COPY_BLOCK] == 2
    assert actions.traffic.received[kinds.PUT_BLOCK] < 2.1 * MIB
    await stored_alone(actions, relays, image, *LAYERS, own)


async def test_where_the_storage_copies_nothing_the_relay_sends_the_layers(emulate: Emulate, relays: Relays) -> None:
    actions = emulate(copies=False)
    await good_run(actions, relays, 7, layers=LAYERS)
    relay = await start(actions, relays)

    image, own = await push_on_top(relay, actions)

    assert actions.traffic.received[kinds.PUT_BLOCK] > 10 * MIB
    await stored_alone(actions, relays, image, *LAYERS, own)


async def test_urls_that_have_expired_are_asked_for_again(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await good_run(actions, relays, 7, layers=LAYERS)
    relay = await start(actions, relays)
    assert (await relay.get("v1")).status == 200
    actions.expire_urls()

    image, own = await push_on_top(relay, actions)
    actions.expire_urls()
    assert (await blob_of(relay, Digest.of(LAYERS[0]))).body == LAYERS[0]

    assert actions.traffic.calls[kinds.COPY_BLOCK] >= 2
    await stored_alone(actions, relays, image, *LAYERS, own)


async def test_a_client_that_sends_all_of_it_uploads_only_what_is_new(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await good_run(actions, relays, 7, layers=LAYERS)
    relay = await start(actions, relays)
    assert (await relay.get("v1")).status == 200
    actions.traffic.reset()

    image = await relay.push_image("new", layers=LAYERS)

    assert actions.traffic.received[kinds.PUT_BLOCK] < MIB
    await stored_alone(actions, relays, image, *LAYERS)


async def test_a_tarball_is_not_uploaded_while_it_arrives_where_another_run_has_its_layers(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    sample = Sample((noise((2 * WIDTH + 13) * MIB, 1),))
    job = actions.job(run=7)
    tarball = legacy_save(sample, "app:v1")
    assert (await (await relays.start(actions, job)).ask("PUT", "/relay/images/app:v1", data=tarball)).status == 201
    ended(job.run)
    actions.traffic.reset()
    relay = await start(actions, relays)

    assert (await relay.ask("PUT", "/relay/images/app:new", data=tarball)).status == 201

    assert actions.traffic.received[kinds.PUT_BLOCK] < MIB
    actions.ledger.records = [each for each in actions.ledger.records if actions.runs.known(each.run).number != 7]
    found = await pulled(await relays.start(actions, actions.job("deploy")), "new")
    assert set(sample.layers) <= set(found.values())


async def test_the_same_image_pushed_again_is_stored_in_the_own_run(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7, "new", layers=LAYERS)
    relay = await start(actions, relays)
    assert (await relay.get("new")).status == 200

    await relay.push(image, "new")

    assert HEADER not in (await relay.get("new")).headers
    await stored_alone(actions, relays, image, *LAYERS)


async def test_what_is_pushed_by_digest_is_stored_with_layers_of_another_run_also_by_a_relay_that_was_restarted(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7, layers=LAYERS)
    relay = await start(actions, relays)
    assert (await relay.get("v1")).status == 200
    await relay.push(image)
    shutil.copytree(relay.data, copy := relay.data.with_name("relay-copy"))  # as it was when it was killed

    restarted = await start(actions, relays, data=copy)
    assert (await restarted.flush()).status == 200

    actions.ledger.records = [each for each in actions.ledger.records if actions.runs.known(each.run).number != 7]
    found = await pulled(await relays.start(actions, actions.job("deploy")), image.digest)
    assert found["manifest"] == image.content


async def test_a_layer_that_is_gone_from_the_other_run_meanwhile_fails_the_push_and_not_the_image(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7, layers=LAYERS)
    relay = await start(actions, relays)
    assert (await relay.get("v1")).status == 200
    assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(LAYERS[0])}")).status == 200
    actions.ledger.records.clear()
    actions.expire_urls()

    refused = await relay.put("new", image.content)

    assert refused.status in {400, 403}
    assert actions.ledger.records == [] or all(each.finished is None for each in actions.ledger.records)
    assert (await relay.ask("GET", "/v2/app/tags/list")).status == 404


# What is said


async def test_the_log_the_summary_and_health_say_where_an_image_came_from(
    emulate: Emulate, relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    actions = emulate()
    await good_run(actions, relays, 7, layers=LAYERS)
    relay = await start(actions, relays)
    before = (await relay.ask("GET", "/relay/health")).json

    await pulled(relay, "v1")
    relay.services.pulls.end()

    health = (await relay.ask("GET", "/relay/health")).json
    summary = (await relay.ask("GET", "/relay/summary")).body.decode()
    assert before["from"] == ["build.yml@main"]
    assert health["from"] == ["run 7 of octo/relay"]
    assert "build.yml@main is run 7 of octo/relay, made of octo/relay at " in caplog.text
    assert "pulled app:v1 from run 7 of octo/relay: 8" in caplog.text
    assert "| run 7 of octo/relay |" in summary


async def test_a_chart_of_another_run_is_fetched_by_helm_in_the_summary(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    job = actions.job(run=7)
    there = await relays.start(actions, job)
    await there.push_blob(b"{}")
    await there.push(document(config=described(b"{}", "application/vnd.cncf.helm.config.v1+json"), layers=[]), "1.0.0")
    ended(job.run)
    relay = await start(actions, relays)

    assert (await relay.get("1.0.0")).status == 200
    relay.services.pulls.end()

    summary = (await relay.ask("GET", "/relay/summary")).body.decode()
    assert f"\nhelm pull oci://localhost:{relay.port}/app --version 1.0.0 --plain-http\n" in summary
    assert "docker pull" not in summary


async def refusal(relay: Relay) -> str:
    answer = await relay.get("v1")
    assert answer.error == (403, "DENIED"), answer.body
    return answer.message


async def test_who_may_not_read_other_runs_is_told_the_line_to_change_and_can_push_all_the_same(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    await good_run(actions, relays, 7)
    relay = await start(actions, relays, token=OTHER_TOKEN)

    assert await refusal(relay) == (
        'build.yml@main cannot be read: GITHUB_TOKEN cannot read artifacts: give the job "permissions: {actions: read}"'
    )
    own = await relay.push_image("v1")
    assert (await relay.get("v1")).body == own.content


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("99", "run 99 of octo/relay cannot be read: GitHub knows no run 99 of octo/relay, or GITHUB_TOKEN cannot"),
        (
            "absent.yml@main",
            "cannot be read: GitHub knows no workflow absent.yml of octo/relay, or GITHUB_TOKEN cannot",
        ),
        ("8", "cannot be read: run 8 of octo/relay comes from fork/relay at "),
    ],
)
async def test_a_run_that_cannot_be_read_is_told(emulate: Emulate, relays: Relays, source: str, sentence: str) -> None:
    actions = emulate()
    await good_run(actions, relays, 7)
    ended(actions.job(run=8).run, head_repository="fork/relay")

    assert sentence in await refusal(await start(actions, relays, source, "7"))


async def test_a_fork_is_read_by_its_number_where_it_is_trusted(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7)
    actions.job(run=7).run.head_repository = "fork/relay"

    assert (await (await start(actions, relays, "7", trust_forks=True)).get("v1")).body == image.content


async def test_where_an_image_has_expired_no_older_run_answers_in_its_place(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await good_run(actions, relays, 7)
    await good_run(actions, relays, 8)
    for record in actions.ledger.records:
        record.expired = actions.runs.known(record.run).number == 8

    missing = await (await start(actions, relays)).get("v1")

    assert missing.error == (404, "MANIFEST_UNKNOWN")
    assert missing.message.endswith(" Nor is it in run 8 of octo/relay.")


async def test_an_image_that_is_deleted_while_it_is_known_is_not_there(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await good_run(actions, relays, 7, "v1", "v2")
    relay = await start(actions, relays)
    assert (await relay.get("v1")).status == 200

    actions.ledger.records = [each for each in actions.ledger.records if "v2" not in each.name]

    assert (await relay.get("v2")).status == 404


@pytest.mark.parametrize("limit", ["used up", "retry later"])
async def test_a_rate_limit_is_told_with_its_end(emulate: Emulate, relays: Relays, limit: str) -> None:
    actions = emulate()
    await good_run(actions, relays, 7)
    relay = await start(actions, relays)
    if limit == "used up":
        actions.options.rest_budget = 0
    else:
        actions.plan.play(kinds.REST_RUNS, rate_limited(120))

    told = await refusal(relay)

    assert "GitHub's API accepts no more requests from this repository for " in told
    assert told.endswith(" min (rate limit)")
    assert rest_calls(actions) == 1


async def test_without_other_runs_github_is_not_asked(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await good_run(actions, relays, 7)
    relay: Relay = await relays.start(actions, token=READ_TOKEN)

    missing: Answer = await relay.get("v1")

    assert missing.status == 404
    assert "Nor is it" not in missing.message
    assert rest_calls(actions) == 0


# What a hand-over says


PASSWORD = "a-password"  # noqa: S105 - of a test


def login(password: str) -> dict[str, str]:
    return {"Authorization": encode_basic_auth("relay", password)} if password else {}


async def handed(relay: Relay, actions: Emulator, password: str = "", /, **more: object) -> Answer:
    """Hand over the session of a job of the own run."""
    job = actions.job("test")
    offer = {"token": job.token, "results_url": f"{actions.origin}/", "repository": "octo/relay", "run_id": "1001"}
    return await relay.ask("PUT", "/relay/session", json=offer | more, headers=login(password))


async def test_the_number_of_a_run_may_be_a_number_in_a_hand_over(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7)
    relay = await relays.start_without_session(actions)
    relays.secrets.add(READ_TOKEN)

    reading = {"from": [7], "github_token": READ_TOKEN, "api_url": actions.origin}
    assert (await handed(relay, actions, **reading)).status == 204

    assert (await relay.get("v1")).body == image.content


async def test_a_hand_over_brings_other_runs_and_their_token_and_a_later_one_keeps_them(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    image = await good_run(actions, relays, 7)
    relay = await relays.start_without_session(actions)
    relays.secrets.add(READ_TOKEN)
    reading = {"github_token": READ_TOKEN, "api_url": actions.origin}

    assert (await handed(relay, actions, **{"from": [MAIN]}, **reading)).status == 204
    found = await relay.get("v1")
    calls = rest_calls(actions)
    assert (await handed(relay, actions)).status == 204
    assert (await handed(relay, actions, **{"from": [MAIN]}, **reading)).status == 204

    assert (found.body, found.headers[HEADER]) == (image.content, "run 7 of octo/relay")
    assert (await relay.get("v1")).body == image.content
    assert rest_calls(actions) == calls


async def test_what_one_run_reads_is_not_read_for_the_next_one(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await good_run(actions, relays, 7)
    relay = await relays.start_without_session(actions, password=PASSWORD)
    relays.secrets.add(READ_TOKEN)
    reading = {"from": [MAIN], "github_token": READ_TOKEN, "api_url": actions.origin}
    runs = [actions.job("test", run=number).token for number in (2001, 2002)]

    assert (await handed(relay, actions, PASSWORD, token=runs[0], **reading)).status == 204
    assert (await relay.ask("GET", "/v2/app/manifests/v1", headers=login(PASSWORD))).status == 200
    assert (await handed(relay, actions, PASSWORD, token=runs[1], repository="octo/another")).status == 204

    calls = rest_calls(actions)
    assert (await relay.ask("GET", "/v2/app/manifests/v1", headers=login(PASSWORD))).status == 404
    assert rest_calls(actions) == calls


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"from": ["main"]}, "from: 'main' is not a run; write its number, or workflow.yml@branch"),
        ({"from": ["../x.yml@main"]}, "is not a run"),
        ({"from": ["1"] * 21}, "from: "),
        ({"from": "7"}, "from: "),
        ({"github_token": ""}, "from needs repository, github_token and api_url"),
        ({"github_token": "two words"}, "github_token: "),
        ({"repository": ""}, "from needs repository, github_token and api_url"),
        ({"api_url": "https://api.github.com.evil.example"}, "its API is not that of GitHub; if it is yours, set"),
        ({"api_url": "http://api.github.com"}, "its API is not that of GitHub"),
        ({"api_url": "http://[::1"}, "from: "),
    ],
)
async def test_a_hand_over_that_names_no_run_or_another_api_changes_nothing(
    emulate: Emulate, relays: Relays, change: dict[str, object], sentence: str
) -> None:
    actions = emulate()
    relay = await relays.start_without_session(actions)
    relays.secrets.add(READ_TOKEN)
    reading = {"from": ["7"], "github_token": READ_TOKEN, "api_url": actions.origin}

    refused = await handed(relay, actions, **{**reading, **change})

    assert refused.status in {400, 403}
    assert sentence in refused.message
    assert (await relay.ask("GET", "/relay/health")).json["session"] == "none"
    assert rest_calls(actions) == 0
