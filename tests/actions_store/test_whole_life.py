"""The whole life of an image over slow storage, for a client that waits for the head of each answer only so long."""

import asyncio
from io import BytesIO
from typing import Any

import pytest

from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from tests.actions_store.relays import Relays
from tests.actions_store.test_patience import STEADY
from tests.api.relay import MIB, Answer, Relay, pushed_image
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import BodyStall, Delay, Fault
from tests.fakes.actions.fixtures import Emulate
from tests.registry_harness import noise

LAYER = noise(3 * MIB)
CONFIG = b'{"os":"linux","architecture":"amd64"}'
PATIENCE = 0.3  # seconds until a relay answers
CLIENT = 20 * PATIENCE  # seconds without a head after which a client gives up: a busy machine is slow as well
HOPS = 9  # redirects that a client follows
SLOW = Delay(1.5 * PATIENCE)  # four such calls of a push take six redirects, which leaves some for a busy machine
LIMITS = Limits(first_answer=PATIENCE, listing_fresh=0.0, prefetch_wait=PATIENCE / 5)
IMAGE = pushed_image(CONFIG, LAYER)
ROOT, CONTENT, TYPED = str(IMAGE.digest), IMAGE.content, {"Content-Type": IMAGE.media_type}

FAULTS: dict[str, tuple[str, Fault]] = {
    "create": (kinds.CREATE, SLOW),
    "block": (kinds.PUT_BLOCK, SLOW),
    "commit": (kinds.PUT_BLOCK_LIST, SLOW),
    "finalize": (kinds.FINALIZE, SLOW),
    "list": (kinds.LIST, SLOW),
    "sign": (kinds.SIGN, SLOW),
    "delete": (kinds.DELETE, SLOW),
    "range": (kinds.GET_RANGE, SLOW),
    "stalled range": (kinds.GET_RANGE, BodyStall(100, SLOW.seconds)),
}


class Hurried:
    """Asks, comes again as often as it is told to, and gives up on a head that does not come; counts redirects."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.redirects = 0

    async def ask(self, method: str, path: str, expected: int, content: bytes = b"", **more: Any) -> Answer:
        for _ in range(HOPS + 1):
            url = f"http://127.0.0.1:{self._relay.port}{path}"
            async with asyncio.timeout(CLIENT):
                answer = await self._relay.session.request(
                    method, url, data=BytesIO(content), allow_redirects=False, **more
                )
            async with answer:  # the head has come; a body may take its time
                body = await answer.read()
            if answer.status != 307:
                assert answer.status == expected, (method, path, answer.status, body)
                return Answer(answer.status, answer.headers, body)
            path = answer.headers["Location"]
            self.redirects += 1
        raise AssertionError(f"{method} {path}: more than {HOPS} redirects")

    async def push(self) -> None:
        """Push as engines do: look, send what is not there, then the manifest, by digest and by two tags."""
        await self.ask("HEAD", "/v2/app/manifests/v1", 404)
        for content in (CONFIG, LAYER):
            digest = Digest.of(content)
            await self.ask("HEAD", f"/v2/app/blobs/{digest}", 404)
            where = (await self.ask("POST", "/v2/app/blobs/uploads/", 202)).headers["Location"]
            await self.ask("PATCH", where, 202, content)
            await self.ask("PUT", f"{where}?digest={digest}", 201)
        for reference in (ROOT, "v1", "v2"):
            await self.ask("PUT", f"/v2/app/manifests/{reference}", 201, CONTENT, headers=TYPED)

    async def pull(self) -> None:
        """Pull everything, list everything, read a range."""
        for reference in ("v1", ROOT):
            await self.ask("HEAD", f"/v2/app/manifests/{reference}", 200)
            assert (await self.ask("GET", f"/v2/app/manifests/{reference}", 200)).body == CONTENT
        layer = f"/v2/app/blobs/{Digest.of(LAYER)}"
        await self.ask("HEAD", layer, 200)
        assert (await self.ask("GET", layer, 206, headers={"Range": "bytes=5-2500000"})).body == LAYER[5:2500001]
        assert (await self.ask("GET", layer, 200)).body == LAYER
        assert (await self.ask("GET", f"/v2/app/blobs/{Digest.of(CONFIG)}", 200)).body == CONFIG
        assert (await self.ask("GET", "/v2/app/tags/list", 200)).json["tags"] == ["v1", "v2"]
        assert (await self.ask("GET", "/v2/_catalog", 200)).json["repositories"] == ["app"]
        assert (await self.ask("GET", f"/v2/app/referrers/{ROOT}", 200)).json["manifests"] == []

    async def delete(self) -> None:
        """Delete one tag, then what is left by its digest."""
        await self.ask("DELETE", f"/v2/app/blobs/{Digest.of(LAYER)}", 405)
        await self.ask("DELETE", "/v2/app/manifests/v1", 202)
        await self.ask("DELETE", f"/v2/app/manifests/{ROOT}", 202)
        await self.ask("GET", "/v2/app/manifests/v2", 404)


@pytest.mark.parametrize("spool", ["4GiB", "1MiB"], ids=["cached", "without room"])
@pytest.mark.parametrize("kind", FAULTS)
async def test_no_request_keeps_a_client_waiting_for_its_head(
    emulate: Emulate, relays: Relays, kind: str, spool: str
) -> None:
    actions = emulate()
    where, fault = FAULTS[kind]
    actions.plan.play(where, fault, times=None)
    pushing = Hurried(await relays.start(actions, actions.job("build"), STEADY, limits=LIMITS))
    await pushing.push()
    other = await relays.start(actions, actions.job("deploy"), STEADY, limits=LIMITS, spool_limit=spool)

    pulling = Hurried(other)
    await pulling.pull()
    await pulling.delete()

    assert actions.plan.played
    assert pushing.redirects + pulling.redirects > 0
