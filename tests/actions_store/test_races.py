"""Jobs that push to one tag at the same time: what one of them was told stays true for every reader.

Each seed is a run of its own with two or three jobs, slow uploads, lists that lag, answers that are lost, names that
an earlier attempt has burnt, and a relay that dies after Create and is started again. While they push, readers with an
empty disk look at the tag, one after the other. `RACES=0:200` in the environment names other seeds than the usual ones.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pytest

from proxy.artifacts.naming import Naming
from proxy.catalog.catalog import Catalog
from proxy.oci.names import Name, Tag
from proxy.runtime.limits import Limits, Timeouts
from tests.actions_store import foreign_images
from tests.actions_store.relays import QUICK, Relays
from tests.api.relay import Pushed, Relay, pushed_image
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator, Job
from tests.fakes.actions.faults import Answer, Delay, Fault, Reset
from tests.fakes.actions.fixtures import Emulate
from tests.unit.artifacts.service import opened

SEEDS = range(*map(int, os.environ.get("RACES", "0:9").split(":")))
LANES = 3  # seeds at once
APP, V1 = Name.parse("app"), Tag.parse("v1")
TEMPO = Timeouts(  # a hundredth of the pauses that jobs have, or a tenth where the machine may be as slow
    calls=QUICK,
    blobs=QUICK,
    call=1.0,
    finalize=1.0,
    looks=(0.0, 0.02, 0.04, 0.08, 0.15, 0.21),
    shows=1.0,
    passed=1.0,
    again=(0.01, 0.03),
)
FAULTS: list[tuple[str, list[Fault]]] = [
    (kinds.CREATE, [Reset(effect=True), Answer(503), Answer(503, effect=True), Delay(0.1), Delay(0.1, effect=True)]),
    (kinds.PUT_BLOCK, [Delay(0.3), Delay(0.7), Delay(1.2)]),
    (kinds.FINALIZE, [Reset(effect=True), Answer(503), Answer(503, effect=True), Delay(0.1), Delay(0.1, effect=True)]),
    (kinds.LIST, [Delay(0.05), Delay(0.05), Answer(503)]),
]


@dataclass
class Told:
    """What a push was told, and when it was sent and answered."""

    job: str
    image: Pushed = field(repr=False)
    sent: float
    answered: float = field(default=float("inf"))
    status: int = 0
    message: str = ""


@dataclass
class Read:
    """What a reader got who began and ended then."""

    began: float
    ended: float
    root: str | None
    artifact: str = ""  # its name; twins have one


@asynccontextmanager
async def reading(actions: Emulator, folder: Path, job: Job) -> AsyncIterator[list[Read]]:
    """Look at the tag with one new catalog after the other, for as long as the block."""
    reads: list[Read] = []
    end = asyncio.Event()

    async def look() -> None:
        while not end.is_set():
            began = time.monotonic()
            root, artifact = await found_by(actions, folder, job)
            reads.append(Read(began, time.monotonic(), root, artifact))
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        try:
            yield reads
        finally:
            end.set()


async def found_by(actions: Emulator, folder: Path, job: Job) -> tuple[str | None, str]:
    """Return what answers for the tag, and from which artifact, to a relay that knows nothing yet."""
    async with opened(actions, folder, job=job) as store:
        archive = await Catalog(store, Naming("image-")).resolve(APP, V1)
        return (str(archive.index.root), archive.artifact.name) if archive else (None, "")


class Race:
    """One seed."""

    def __init__(self, seed: int, actions: Emulator, relays: Relays, folder: Path) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - no secret
        self.actions, self.relays, self.folder, self.number = actions, relays, folder, 3000 + seed
        self.mode = "job" if seed % 3 else "run"
        self.attempt = self.dice.choice([1, 1, 2])
        self.jobs = ["a", "b", "c"][: self.dice.choice([2, 2, 3])]
        self.same = self.dice.random() < 0.1  # they push the same image
        self.told: list[Told] = []

    def job(self, name: str) -> Job:
        return self.actions.job(name, run=self.number, attempt=self.attempt)

    async def burn(self) -> None:
        """Let an earlier attempt have taken names, and finished none of them."""
        earlier = self.actions.job("a", run=self.number, attempt=1)
        for number in range(self.dice.choice([0, 1, 2])):
            name = f"image-app@v1~{number + 1}" if number else "image-app@v1"
            await foreign_images.call(self.actions, earlier, kinds.CREATE, name=name, version=4)

    def disturb(self) -> None:
        options, dice, plan = self.actions.options, self.dice, self.actions.plan
        options.id_at_finalize, options.created_at_finalize = dice.random() < 0.5, dice.random() < 0.5
        options.unique_across_attempts = dice.random() < 0.5
        options.listed_after = dice.choice([0.0, 0.0, 0.05, 0.15])
        plan.clear()
        for kind, faults in FAULTS:
            for _ in range(dice.choice([0, 1, 1, 2])):
                plan.play(kind, dice.choice(faults), skip=dice.randrange(3 if kind != kinds.LIST else 9))

    async def run(self) -> list[Read]:
        reader = self.job("reader")
        if self.attempt == 2:
            await self.burn()
        racers = [(name, await self.start(name)) for name in self.jobs]
        images = [await self.prepared(relay, name) for name, relay in racers]
        killed = self.dice.choice([*self.jobs, None, None])
        self.disturb()
        async with reading(self.actions, self.folder / "reader", reader) as reads:
            async with asyncio.TaskGroup() as group:
                for (name, relay), ready in zip(racers, images, strict=True):
                    group.create_task(self.pushing(name, relay, ready, dies=name == killed))
            self.actions.plan.clear()
            await asyncio.sleep(self.actions.options.listed_after + 0.05)
        now = time.monotonic()
        reads.append(Read(now, now, *await found_by(self.actions, self.folder / "reader", reader)))
        for _, relay in racers:
            if relay.port:
                reads.append(Read(now, now, (await relay.get("v1")).headers.get("Docker-Content-Digest")))
        return reads

    async def start(self, name: str, data: Path | None = None) -> Relay:
        return await self.relays.start(self.actions, self.job(name), TEMPO, overwrite=self.mode, data=data)

    async def prepared(self, relay: Relay, name: str) -> list[Pushed]:
        """Push the blobs of two images, and return their manifests."""
        made = []
        for number in range(self.dice.choice([1, 1, 2])):
            layer = b"same" if self.same else f"{self.number} {name} {number}".encode()
            config = b'{"os":"linux","architecture":"amd64"}'
            for content in (config, layer):
                await relay.push_blob(content)
            made.append(pushed_image(config, layer))
        return made

    async def pushing(self, name: str, relay: Relay, images: list[Pushed], *, dies: bool) -> None:
        await asyncio.sleep(self.dice.choice([0.0, 0.0, 0.05, 0.2, 0.6]))
        for each in images:
            if dies:
                dies = False
                relay = await self.reborn(name, relay, each)
            await self.push(name, relay, each)

    async def push(self, name: str, relay: Relay, pushed: Pushed) -> None:
        told = Told(name, pushed, time.monotonic())
        self.told.append(told)
        answer = await relay.put("v1", pushed.content)
        told.answered, told.status = time.monotonic(), answer.status
        told.message = "" if answer.status == 201 else answer.message

    async def reborn(self, name: str, relay: Relay, pushed: Pushed) -> Relay:
        """Let a relay die some time after its Create, and start another in the same job with the same folder."""
        mine, records = self.job(name), self.actions.ledger.records
        pushing = asyncio.ensure_future(relay.put("v1", pushed.content))
        while not pushing.done() and not any(each.job == mine.id for each in records):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.002)
        await relay.services.flights._tasks.cancel_all()
        pushing.cancel()
        await asyncio.wait({pushing})
        relay.port = 0  # nobody asks it again
        return await self.start(name, relay.data)

    # What has to be true

    def check(self, reads: list[Read]) -> None:
        yes = [each for each in self.told if each.status == 201]
        assert all(each.status in {201, 403} for each in self.told)
        assert yes, [each.message for each in self.told]
        self.check_presence(reads, yes)
        if self.mode == "job":
            self.check_job(reads, yes)
        else:
            self.check_run(reads, yes)

    def check_presence(self, reads: list[Read], yes: list[Told]) -> None:
        first = min(each.answered for each in yes)
        assert [read for read in reads if read.began > first and read.root is None] == []

    def check_job(self, reads: list[Read], yes: list[Told]) -> None:
        if not self.same:
            assert len({each.job for each in yes}) == 1
        for each in yes:
            later = min((o.sent for o in self.told if o.job == each.job and o.sent > each.sent), default=float("inf"))
            wrong = [read for read in reads if each.answered < read.began and read.ended < later]
            assert {read.root for read in wrong} <= {str(each.image.digest)}
        refused = {each.message for each in self.told if each.status == 403}
        assert refused <= {"app:v1 belongs to another job of this run; use another tag, or RELAY_OVERWRITE=run"}

    def check_run(self, reads: list[Read], yes: list[Told]) -> None:
        seen = [name for name, _ in groupby(read.artifact for read in reads if read.artifact)]
        assert len(seen) == len(set(seen)), "it went back"
        assert len(yes) == len(self.told)
        late = [read.root for read in reads if read.began >= reads[-1].began]
        assert set(late) <= {str(each.image.digest) for each in yes}
        assert len(set(late)) == 1


@pytest.mark.timeout(60 + 6 * len(SEEDS))
async def test_what_a_job_was_told_of_a_tag_stays_true_for_every_reader(
    emulate: Emulate, relays: Relays, tmp_path: Path
) -> None:
    relays.limits = Limits(listing_fresh=0.02)  # as short as the other pauses

    async def play(lane: int) -> None:
        actions = emulate()
        for seed in SEEDS[lane::LANES]:
            race = Race(seed, actions, relays, tmp_path / f"race-{seed}")
            try:
                race.check(await race.run())
            except BaseException as error:
                error.add_note(f"seed {seed}, {race.mode}, {actions.options}, {race.told}")
                raise

    async with asyncio.TaskGroup() as group:
        for lane in range(LANES):
            group.create_task(play(lane))
