"""A tarball is uploaded while it arrives. Whatever breaks off or turns out otherwise, what is answered is exact."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest

from proxy.spool.staging import WIDTH
from tests.actions_store.relays import HASTY, Relays, pulled
from tests.api.relay import MIB, Answer, Relay
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Answer as Answered
from tests.fakes.actions.faults import Fault, Reset, UploadReset, no_storage_left
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise
from tests.tarballs import Sample, legacy_save, oci_save

LARGE = (2 * WIDTH + 13) * MIB  # of which a block is full before the tarball ends, however many processors frame it
PATIENT = replace(HASTY, call=20, transfer=30, answer=30, commit=30, finalize=30, stall=20)  # these are large


def made(*seeds: int) -> Sample:
    return Sample(tuple(noise(LARGE, seed) for seed in seeds))


pytestmark = pytest.mark.timeout(120)  # large layers in a storage that is slow


@dataclass
class Sending:
    """A client that sends a tarball up to its last KiB, and that when it is let go on."""

    relay: Relay
    tarball: bytes
    reference: str = "app:v1"
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[Answer] = field(init=False)

    def __post_init__(self) -> None:
        path = f"/relay/images/{self.reference}"
        self.task = asyncio.create_task(self.relay.ask("PUT", path, data=self._chunks()))

    async def _chunks(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.tarball) - 1024, MIB):
            yield self.tarball[at : min(at + MIB, len(self.tarball) - 1024)]
        await self.go_on.wait()
        yield self.tarball[-1024:]

    async def ended(self) -> Answer:
        self.go_on.set()
        return await self.task

    async def break_off(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def save(relay: Relay, sample: Sample, reference: str = "app:v1") -> None:
    answer = await Sending(relay, legacy_save(sample, reference), reference).ended()
    assert answer.status == 201, answer.body


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what happens elsewhere tells nobody
        await asyncio.sleep(0.01)


async def sent(actions: Emulator, blocks: int = 1) -> None:
    await until(lambda: actions.traffic.answers[kinds.PUT_BLOCK, 201] >= blocks)


async def is_stored(actions: Emulator, relays: Relays, sample: Sample, tag: str = "v1") -> None:
    found = await pulled(await relays.start(actions, actions.job("deploy"), PATIENT), tag)
    assert set(sample.layers) <= set(found.values())


@pytest.mark.parametrize("saved", [legacy_save, oci_save])
async def test_layers_are_stored_before_the_tarball_ends(
    emulate: Emulate, relays: Relays, saved: Callable[[Sample, str], bytes]
) -> None:
    actions, sample = emulate(check_digest=True), made(1, 2)
    sending = Sending(await relays.start(actions, tempo=PATIENT), saved(sample, "app:v1"))

    await sent(actions, 5)
    answer = await sending.ended()

    assert answer.status == 201, answer.body
    assert actions.traffic.received[kinds.PUT_BLOCK] < 2 * LARGE + MIB  # nothing twice
    assert actions.traffic.calls[kinds.CREATE] == 1
    await is_stored(actions, relays, sample)


async def test_the_artifact_is_the_same_whether_its_layers_were_sent_early_or_not(
    emulate: Emulate, relays: Relays
) -> None:
    tarball, found = legacy_save(made(1, 2), "app:v1"), list[bytes]()
    for early in (True, False):
        actions = emulate()
        if not early:  # the name is created once the tarball is there
            actions.plan.play(kinds.CREATE, Answered(409, '{"code":"already_exists","msg":""}'))
        relay = await relays.start(actions, tempo=PATIENT)
        assert (await relay.ask("PUT", "/relay/images/app:v1", data=tarball)).status == 201
        reader = await relays.start(actions, actions.job("deploy"), PATIENT)
        found.append((await reader.ask("GET", "/relay/images/app:v1")).body)

    assert found[0] == found[1]


async def test_a_client_that_breaks_off_leaves_nothing_and_the_next_push_succeeds(
    emulate: Emulate, relays: Relays
) -> None:
    actions, sample = emulate(), made(1)
    relay = await relays.start(actions, tempo=PATIENT)
    sending = Sending(relay, legacy_save(sample, "app:v1"))
    await sent(actions)

    await sending.break_off()

    await until(lambda: not relay.files("uploads"))
    assert (await relay.get("v1")).status == 404
    assert not list(actions.ledger.finished())
    await save(relay, sample)
    await is_stored(actions, relays, sample)


async def test_a_relay_that_is_killed_while_it_uploads_leaves_a_name_that_the_next_one_passes(
    emulate: Emulate, relays: Relays
) -> None:
    actions, sample = emulate(), made(1)
    relay = await relays.start(actions, tempo=PATIENT)
    sending = Sending(relay, legacy_save(sample, "app:v1"))
    await sent(actions)
    await sending.break_off()  # what its process has done up to here is all that is left of it

    again = await relays.start(actions, tempo=PATIENT)

    await save(again, sample)
    await is_stored(actions, relays, sample)


FAULTS: dict[str, tuple[str, Fault]] = {
    "no block": (kinds.PUT_BLOCK, Answered(403)),
    "reset": (kinds.PUT_BLOCK, Reset()),
    "halfway": (kinds.PUT_BLOCK, UploadReset(1000)),
    "no name": (kinds.CREATE, no_storage_left()),
    "name lost": (kinds.CREATE, Reset(effect=True)),
    "taken": (kinds.CREATE, Answered(409, '{"code":"already_exists","msg":""}')),
    "no listing": (kinds.LIST, Answered(500)),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_early_upload_that_fails_is_made_good_at_the_end(emulate: Emulate, relays: Relays, fault: str) -> None:
    actions, sample = emulate(check_digest=True), made(1)
    relay = await relays.start(actions, tempo=PATIENT)
    kind, what = FAULTS[fault]
    actions.plan.play(kind, what)
    sending = Sending(relay, legacy_save(sample, "app:v1"))
    await until(lambda: not actions.plan.unplayed)

    answer = await sending.ended()

    assert answer.status == 201, answer.body
    await is_stored(actions, relays, sample)


async def test_storage_that_takes_nothing_is_told_in_a_sentence(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, tempo=PATIENT)
    actions.plan.play(kinds.PUT_BLOCK, Answered(403), times=None)
    sending = Sending(relay, legacy_save(made(1), "app:v1"))
    await until(lambda: actions.traffic.answers[kinds.PUT_BLOCK, 403] > 0)

    answer = await sending.ended()

    assert answer.error == (403, "DENIED")
    assert "was not stored" in answer.message
    assert not list(actions.ledger.finished())


async def test_a_sender_slower_than_the_upload_url_lives_is_stored_all_the_same(
    emulate: Emulate, relays: Relays
) -> None:
    actions, sample = emulate(), made(1)
    sending = Sending(await relays.start(actions, tempo=PATIENT), legacy_save(sample, "app:v1"))
    await sent(actions)

    actions.expire_urls()

    assert (await sending.ended()).status == 201
    await is_stored(actions, relays, sample)


async def test_of_two_jobs_that_save_one_tag_at_once_one_gets_it(emulate: Emulate, relays: Relays) -> None:
    actions, samples = emulate(), {"one": made(1), "two": made(2)}
    sendings = {
        job: Sending(await relays.start(actions, actions.job(job), PATIENT), legacy_save(sample, "app:v1"))
        for job, sample in samples.items()
    }
    await sent(actions)

    answers = dict(zip(sendings, await asyncio.gather(*(each.ended() for each in sendings.values())), strict=True))

    assert sorted(answer.status for answer in answers.values()) == [201, 403]
    assert len(list(actions.ledger.finished())) == 1
    (winner,) = (job for job, answer in answers.items() if answer.status == 201)
    await is_stored(actions, relays, samples[winner])


async def test_what_is_saved_last_answers_although_its_upload_began_first(emulate: Emulate, relays: Relays) -> None:
    actions, first, second = emulate(), made(1), made(2)
    relay = await relays.start(actions, tempo=PATIENT)
    slow = Sending(relay, legacy_save(first, "app:v1"))
    await sent(actions)
    pushed = await relay.push_image("v1")
    assert (await relay.get("v1")).body == pushed.content

    assert (await slow.ended()).status == 201

    await is_stored(actions, relays, first)
    await save(relay, second)
    await is_stored(actions, relays, second)


async def test_two_that_save_under_one_tag_of_one_relay_are_both_answered(emulate: Emulate, relays: Relays) -> None:
    actions, samples = emulate(), [made(1), made(2)]
    relay = await relays.start(actions, tempo=PATIENT)
    sendings = [Sending(relay, legacy_save(sample, "app:v1")) for sample in samples]
    await sent(actions)

    assert (await sendings[1].ended()).status == 201
    await is_stored(actions, relays, samples[1])
    assert (await sendings[0].ended()).status == 201
    await is_stored(actions, relays, samples[0])


@pytest.mark.parametrize("job", ["build", "again"])
async def test_what_the_run_has_is_not_sent_and_takes_no_name(emulate: Emulate, relays: Relays, job: str) -> None:
    actions, sample = emulate(), made(1)
    await save(await relays.start(actions, tempo=PATIENT), sample)
    actions.traffic.reset()

    await save(await relays.start(actions, actions.job(job), PATIENT), sample)

    assert actions.traffic.calls[kinds.CREATE] == actions.traffic.calls[kinds.PUT_BLOCK] == 0


async def test_a_layer_that_the_run_has_is_copied_and_only_the_other_is_sent(emulate: Emulate, relays: Relays) -> None:
    actions, sample = emulate(), made(1, 2)
    await save(await relays.start(actions, tempo=PATIENT), made(1))
    actions.traffic.reset()

    relay = await relays.start(actions, actions.job("more"), PATIENT)
    await save(relay, sample, "app:v2")

    assert actions.traffic.received[kinds.PUT_BLOCK] < LARGE + MIB
    assert actions.traffic.calls[kinds.COPY_BLOCK] > 0
    await is_stored(actions, relays, sample, "v2")


async def test_a_layer_that_only_begins_like_one_of_the_run_is_stored_exactly(emulate: Emulate, relays: Relays) -> None:
    actions, before = emulate(), made(1)
    await save(await relays.start(actions, tempo=PATIENT), before)
    alike = Sample((before.layers[0][: 4 * MIB] + noise(LARGE, 3),))

    relay = await relays.start(actions, actions.job("more"), PATIENT)
    await save(relay, alike, "app:v2")

    await is_stored(actions, relays, alike, "v2")


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.GITEA, Flavour.FORGEJO])
async def test_servers_that_append_what_comes_get_all_of_it_at_the_end(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions, sample = emulate(flavour=flavour), made(1, 2)
    sending = Sending(await relays.start(actions, tempo=PATIENT), legacy_save(sample, "app:v1"))
    await until(lambda: actions.traffic.calls[kinds.CREATE] > 0)
    assert actions.traffic.calls[kinds.PUT_BLOCK] == 0

    assert (await sending.ended()).status == 201

    assert actions.traffic.calls[kinds.CREATE] == 1
    await is_stored(actions, relays, sample)


async def test_a_tarball_that_is_no_image_leaves_nothing(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, tempo=PATIENT)
    sending = Sending(relay, legacy_save(made(1), "app:v1").replace(b"manifest.json", b"manifest.jsan"))
    await sent(actions)

    answer = await sending.ended()

    assert answer.status == 400
    assert not relay.files("uploads")
    assert not list(actions.ledger.finished())
