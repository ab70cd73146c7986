"""What registries ask for, in `WWW-Authenticate`."""

import pytest
from aiohttp import ClientSession

from proxy.upstreams.failures import UpstreamRefused
from proxy.upstreams.hosts import Remote, Upstreams
from proxy.upstreams.tokens import Tokens, parse_challenges

HUB = {"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:a/b:pull,push"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([f'Bearer realm="{HUB["realm"]}",service="{HUB["service"]}",scope="{HUB["scope"]}"'], {"bearer": HUB}),
        ([f'bearer Scope="{HUB["scope"]}", REALM="{HUB["realm"]}" , service="{HUB["service"]}"'], {"bearer": HUB}),
        (['Basic realm="a \\"b\\", Bearer c"'], {"basic": {"realm": 'a "b", Bearer c'}}),
        (['Basic realm="x"', 'Bearer realm="y"'], {"basic": {"realm": "x"}, "bearer": {"realm": "y"}}),
        (['Bearer realm="y", Basic realm="x"'], {"basic": {"realm": "x"}, "bearer": {"realm": "y"}}),
        (["Basic realm=x charset=UTF-8"], {"basic": {"realm": "x", "charset": "UTF-8"}}),
        (["Negotiate", "", 'Bearer realm="x'], {"bearer": {}}),
        ([], {}),
    ],
)
def test_challenges(headers: list[str], expected: dict[str, dict[str, str]]) -> None:
    assert parse_challenges(headers) == expected


async def test_nothing_is_remembered_of_repositories_that_were_refused() -> None:
    tokens, upstreams = Tokens(ClientSession), Upstreams(["ghcr.io"])

    for number in range(100):
        remote = upstreams.named(f"ghcr.io/team/app-{number}", "")
        assert isinstance(remote, Remote)
        with pytest.raises(UpstreamRefused):
            await tokens.renew(remote, "", [])

    assert len(tokens._asking) <= 1
