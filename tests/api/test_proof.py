"""`/relay/proof`: a relay proves to whoever has started it that it is this one."""

import hmac
from pathlib import Path

from aiohttp import ClientSession

from config.job import Job
from config.settings import Settings
from proxy.app import serve
from tests.api.relay import Relay

_NONCE, _CHALLENGE = b"the nonce of this relay", "0123456789abcdef" * 4


async def test_who_knows_the_nonce_can_tell_the_relay_from_any_other(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, host=("127.0.0.1",), port=0, password="a password")  # noqa: S106
    async with serve(settings, Job(), nonce=_NONCE) as (_, port), ClientSession() as http:
        place = f"http://127.0.0.1:{port}/relay/proof"
        async with http.get(place, params={"challenge": _CHALLENGE}) as answer:
            proof = await answer.text()
        refused = []
        for challenge in ("", "short", "no hex at all" * 5):
            async with http.get(place, params={"challenge": challenge}) as answer:
                refused.append(answer.status)

    assert proof == hmac.new(_NONCE, _CHALLENGE.encode(), "sha256").hexdigest()
    assert refused == [404] * 3


async def test_a_relay_without_a_nonce_proves_nothing(relay: Relay) -> None:
    assert (await relay.ask("GET", f"/relay/proof?challenge={_CHALLENGE}")).status == 404
