"""What registries ask for, in `WWW-Authenticate`."""

import pytest

from proxy.upstreams.tokens import parse_challenges

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
