"""Which registry a request means, and where it is."""

import pytest

from proxy.upstreams.hosts import Upstreams

UPSTREAMS = Upstreams(("docker.io", "ghcr.io", "localhost:5001", "quay.io=mirror.example:8443"))


@pytest.mark.parametrize(
    ("path", "registry", "expected"),
    [
        ("library/alpine", "docker.io", "docker.io/library/alpine"),
        ("alpine", "docker.io", "docker.io/library/alpine"),
        ("team/app", "index.docker.io", "docker.io/team/app"),
        ("docker.io/team/app", "", "docker.io/team/app"),
        ("team/app", "GHCR.io", "ghcr.io/team/app"),
        ("ghcr.io/app", "", "ghcr.io/app"),
        ("app", "localhost:5001", "localhost:5001/app"),
        ("team/app", "quay.io", "quay.io/team/app"),
        ("team/app", "mirror.example:8443", None),
        ("team/app", "ghcr.io:443", None),
        ("team/app", "", None),
        ("alpine", "", None),
    ],
)
def test_who_names_a_registry_means_it(path: str, registry: str, expected: str | None) -> None:
    remote = UPSTREAMS.named(path, registry)

    assert (remote and str(remote)) == expected
    assert not (remote and remote.implied)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("docker.io=mirror.gcr.io", "https://mirror.gcr.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("registry.example:5000", "https://registry.example:5000"),
        ("localhost:5001", "http://localhost:5001"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("127.8.8.8:5001", "http://127.8.8.8:5001"),
        ("[::1]:5001", "http://[::1]:5001"),
        ("registry.localhost:80", "http://registry.localhost"),
        ("localhost.example:5001", "https://localhost.example:5001"),
    ],
)
def test_only_a_registry_of_this_machine_is_asked_without_tls(host: str, origin: str) -> None:
    upstreams = Upstreams((host,))
    remote = upstreams.named("team/app", upstreams.hosts[0])

    assert remote
    assert str(remote.upstream.origin) == origin


def test_a_login_is_of_its_registry_alone_and_shown_nowhere() -> None:
    upstreams = Upstreams(("docker.io", "ghcr.io"), {"docker.io": ("user", "secret")})
    hub, github = upstreams.named("app", "docker.io"), upstreams.named("app", "ghcr.io")

    assert hub
    assert hub.upstream.login
    assert (hub.upstream.login.user, hub.upstream.login.password) == ("user", "secret")
    assert github
    assert github.upstream.login is None
    assert "secret" not in f"{hub!r} {hub} {hub.upstream.login!r}"


def test_docker_hub_is_implied_only_if_it_may_be_asked() -> None:
    remote = UPSTREAMS.of_hub("team/app")

    assert remote
    assert (str(remote), remote.implied) == ("docker.io/team/app", True)
    assert Upstreams(("ghcr.io",)).of_hub("team/app") is None
    assert not Upstreams()
