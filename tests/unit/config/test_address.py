import re

import pytest

from config import address


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


@pytest.mark.parametrize("text", ["", "relay", "127.0.0.1,", "1.2.3", "[::1", "::1]", "[[::1]]"])
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


@pytest.mark.parametrize(
    "text", ["http://gitea:3000", "gitea/", "*.example", "me@gitea", "gitea:", "gitea.", "a b", "[::1"]
)
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
    ("environment", "found"),
    [
        ({}, ("127.0.0.1", 5000, ())),
        ({"RELAY_PORT": "5001"}, ("127.0.0.1", 5001, ("RELAY_PORT",))),
        ({"relay_port": "5001"}, ("127.0.0.1", 5001, ("RELAY_PORT",))),
        ({"RELAY_HOST": "0.0.0.0,::"}, ("127.0.0.1", 5000, ("RELAY_HOST",))),
        ({"RELAY_HOST": "::", "RELAY_PORT": "6000"}, ("::1", 6000, ("RELAY_HOST", "RELAY_PORT"))),
        ({"RELAY_HOST": "10.1.2.3"}, ("10.1.2.3", 5000, ("RELAY_HOST",))),
        ({"RELAY_PORT": "tcp://10.0.0.11:5000"}, ("127.0.0.1", 5000, ())),
    ],
)
def test_a_command_finds_the_relay_that_the_environment_describes(
    environment: dict[str, str], found: tuple[str, int, tuple[str, ...]]
) -> None:
    assert address.find_relay(None, None, environment) == found


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("localhost", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("127.0.0.1,::1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("Relay", "relay"),
        ("relay.example", "relay.example"),
    ],
)
def test_the_options_of_a_command_win_and_their_host_may_be_a_name(host: str, reached: str) -> None:
    environment = {"RELAY_HOST": "10.1.2.3", "RELAY_PORT": "6000"}

    assert address.find_relay(host, None, environment) == (reached, 6000, ("--host", "RELAY_PORT"))
    assert address.find_relay(host, "7000", environment) == (reached, 7000, ("--host", "--port"))


@pytest.mark.parametrize("port", ["http", "", "-1", "65536", "99999999", "٣"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match="is not a port; write a number up to 65535, such as 5000"):
        address.find_relay(None, None, {"RELAY_PORT": port})


@pytest.mark.parametrize("host", ["", "a/b", "1.2.3", "[::1", "[relay]", "a b", "relay:", "127.0.0.1,relay"])
def test_what_is_no_host_of_a_relay_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(repr(host))} is not a host; write for example localhost"):
        address.find_relay(host, None, {})


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("http://localhost", "is a URL; write the host alone: localhost"),
        ("https://relay:5001/v2/", "is a URL; write host and port apart: --host relay --port 5001"),
        ("localhost:5000", "has a port; write host and port apart: --host localhost --port 5000"),
        ("[::1]:5000", "has a port; write host and port apart: --host [::1] --port 5000"),
    ],
)
def test_who_gives_a_url_or_host_and_port_in_one_is_told_how_to_part_them(text: str, advice: str) -> None:
    said = re.escape(f"{text!r} {advice}")
    for host, port, environment in ((text, None, {}), (None, text, {}), (None, None, {"RELAY_HOST": text})):
        with pytest.raises(ValueError, match=said):
            address.find_relay(host, port, environment)
