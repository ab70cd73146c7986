"""Requests while the relay is handed over to another run, and at its end."""

import asyncio

from tests.api.relay import Relay


async def test_what_waited_for_a_change_of_run_does_not_begin_after_the_end(relay: Relay) -> None:
    requests = relay.services.requests
    async with requests.between_runs(1.0):
        reading = asyncio.create_task(relay.ask("GET", "/v2/_catalog"))
        refused = await relay.ask("POST", "/v2/app/blobs/uploads/")
        health = await relay.ask("GET", "/relay/health")
        await asyncio.sleep(0.1)
        requests.begin(5.0)

    answer = await reading

    assert refused.error == (403, "DENIED")
    assert refused.message.startswith("this relay has been handed over to another run")
    assert health.status == 200
    assert answer.error == (403, "DENIED")
    assert answer.message.startswith("image-relay is stopping")


async def test_what_waited_for_a_change_of_run_is_answered_after_it(relay: Relay) -> None:
    async with relay.services.requests.between_runs(1.0):
        reading = asyncio.create_task(relay.ask("GET", "/v2/_catalog"))
        await asyncio.sleep(0.1)
        assert not reading.done()

    assert (await reading).json == {"repositories": []}
