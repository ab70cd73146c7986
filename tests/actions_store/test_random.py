"""Many pushes and pulls while one request in a hundred, or in ten, goes wrong in some way."""

import random
from typing import TYPE_CHECKING

import pytest

from proxy.runtime.limits import Limits
from tests.actions_store.faulty import EVERYWHERE, IMPATIENT
from tests.actions_store.relays import Relays, pulled
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise

if TYPE_CHECKING:
    from tests.api.relay import Pushed


@pytest.mark.timeout(300)  # twenty seconds on a quiet machine; retries take longer on a busy one
@pytest.mark.parametrize(
    ("flavour", "rate", "pushes"),
    [
        (Flavour.GITHUB, 0.01, 120),
        (Flavour.GITHUB, 0.1, 60),
        (Flavour.ACT, 0.05, 40),
        (Flavour.FORGEJO, 0.05, 40),
    ],
)
async def test_every_answered_push_is_readable_and_exact_and_no_tag_answers_with_an_older_image(
    emulate: Emulate,
    relays: Relays,
    flavour: Flavour,
    rate: float,
    pushes: int,
) -> None:
    relays.limits = Limits(listing_fresh=0.0)
    actions = emulate(flavour=flavour)
    dice = random.Random(f"{flavour} {rate}")  # noqa: S311 - no secret
    writer = await relays.start(actions, tempo=IMPATIENT)
    reader = await relays.start(actions, actions.job("deploy"), tempo=IMPATIENT)
    actions.plan.at_random(rate, seed=dice.randrange(2**32), faults=EVERYWHERE)
    answered: dict[str, Pushed] = {}

    for number in range(pushes):
        tag = f"v{dice.randrange(8)}"
        answered[tag] = await writer.push_image(tag, layers=[noise(dice.randrange(1, 9000), number)])
        wanted = dice.choice(list(answered))
        found = await pulled(dice.choice([reader, writer]), wanted)
        assert found["manifest"] == answered[wanted].content

    assert actions.plan.played
    late = await relays.start(actions, actions.job("late"), tempo=IMPATIENT)
    for tag, image in answered.items():
        assert (await pulled(late, tag))["manifest"] == image.content
