import socket

import aiohttp
import pytest
from aiohttp import web

from config import address
from proxy.api.server import bind_all, listen


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("127.0.0.1,::1", ("127.0.0.1", "::1")),
        (" 0.0.0.0 , [::] ", ("0.0.0.0", "::")),  # noqa: S104
        ("localhost", ("127.0.0.1", "::1")),
        ("::1,localhost,0:0::1", ("::1", "127.0.0.1")),
    ],
)
def test_addresses_are_read_once_each_and_in_order(text: str, hosts: tuple[str, ...]) -> None:
    assert address.parse_hosts(text) == hosts


@pytest.mark.parametrize("text", ["", "relay", "127.0.0.1,", "127.0.0.1:5000", "1.2.3"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address; write for example 127\.0\.0\.1,::1"):
        address.parse_hosts(text)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("gitea", ("gitea",)),
        (" Gitea:3000 , minio.local,, gitea:3000", ("gitea:3000", "minio.local")),
        ("10.0.0.5:34567,10.0.0.5", ("10.0.0.5:34567", "10.0.0.5")),
        ("::1,[::2],[2001:DB8::1]:80", ("::1", "::2", "[2001:db8::1]:80")),
        ("", ()),
    ],
)
def test_hosts_of_others_are_read_once_each_and_in_lower_case(text: str, places: tuple[str, ...]) -> None:
    assert address.parse_places(text) == places


@pytest.mark.parametrize("text", ["http://gitea:3000", "gitea/", "*.example", "me@gitea", "gitea:", "gitea.", "a b"])
def test_what_is_no_host_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a host or host:port; write for example gitea:3000"):
        address.parse_places(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELAY_PORT", "tcp://10.0.0.11:5000"),
        ("RELAY_PORT_5000_TCP", "tcp://10.0.0.11:5000"),
        ("RELAY_PORT_5000_TCP_PROTO", "tcp"),
        ("RELAY_PORT_5000_TCP_ADDR", "10.0.0.11"),
        ("RELAY_SERVICE_HOST", "10.0.0.11"),
        ("RELAY_SERVICE_PORT", "5000"),
        ("RELAY_SERVICE_PORT_HTTP", "5000"),
        ("RELAY_CACHE_SERVICE_HOST", "10.0.0.12"),
        ("RELAY_CACHE_PORT", "udp://10.0.0.12:53"),
        ("RELAY_CACHE_PORT_53_UDP_ADDR", "10.0.0.12"),
    ],
)
def test_what_kubernetes_sets_for_a_service_is_known(name: str, value: str) -> None:
    assert address.is_injected(name, value)


@pytest.mark.parametrize(("name", "value"), [("RELAY_PORT", "5000"), ("RELAY_PROT", "5000"), ("RELAY_HOST", "::1")])
def test_what_a_person_sets_is_not_taken_for_kubernetes(name: str, value: str) -> None:
    assert not address.is_injected(name, value)


@pytest.mark.parametrize(
    ("environment", "reached"),
    [
        ({}, ("127.0.0.1", 5000)),
        ({"RELAY_PORT": "5001"}, ("127.0.0.1", 5001)),
        ({"RELAY_HOST": "0.0.0.0,::"}, ("127.0.0.1", 5000)),
        ({"RELAY_HOST": "::", "RELAY_PORT": "6000"}, ("::1", 6000)),
        ({"RELAY_HOST": "10.1.2.3"}, ("10.1.2.3", 5000)),
        ({"RELAY_PORT": "tcp://10.0.0.11:5000"}, ("127.0.0.1", 5000)),
    ],
)
def test_a_health_check_finds_the_relay_that_the_environment_describes(
    environment: dict[str, str], reached: tuple[str, int]
) -> None:
    assert address.from_environment(environment) == reached


@pytest.mark.parametrize("port", ["http", "", "-1", "65536", "99999999", "٣"])
def test_a_health_check_refuses_what_is_no_port(port: str) -> None:
    with pytest.raises(ValueError, match="is not a port; write for example 5000"):
        address.from_environment({"RELAY_PORT": port})


@pytest.mark.parametrize("spared", ["", "elsewhere.example", "*"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_proxy_is_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch, host: str, spared: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", spared)
    address.spare_loopback_from_proxies()

    async with (
        listen(web.Application(), bind_all(["127.0.0.1"], 0)) as port,
        aiohttp.ClientSession(trust_env=True) as http,
    ):
        async with http.get(f"http://{host}:{port}/") as answer:
            assert answer.status == 404
        if spared != "*":
            with pytest.raises(aiohttp.ClientProxyConnectionError):
                await http.get("http://other.example/")
