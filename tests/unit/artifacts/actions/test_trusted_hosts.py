import pytest
from yarl import URL

from proxy.artifacts.actions.trusted_hosts import TrustedHosts, Untrusted

GITHUB = TrustedHosts(frozenset())
RESULTS = URL("https://results-receiver.actions.githubusercontent.com")
FOREIGN = [
    "https://evil.example/",
    "https://evil-blob.core.windows.net.attacker.example/",
    "https://evilblob.core.windows.net/",
    "https://blob.core.windows.net/",
    "https://.blob.core.windows.net/",
    "https://x.blob.core.windows.net.evil.example/",
    "https://x.blob.core.windows.net%2eevil.example/",
    "https://x.blob.core.windows.net./",
    "https://x.blob.core.windows.net:8443/",
    "https://x.blob.core.windows.net@evil.example/",
    "https://me@x.blob.core.windows.net/",
    "https://me:secret@x.blob.core.windows.net/",
    "https://evil.example/.blob.core.windows.net",
    "https://evil.example?.blob.core.windows.net",
    "https://evil.example#.blob.core.windows.net",
    "https://e\u200bvil.blob.core.windows.net/",
    "https://evil_x.blob.core.windows.net/",
    "https://xn--.blob.core.windows.net/",
    f"https://{'a' * 64}.blob.core.windows.net/",
    "http://x.blob.core.windows.net/",
    "ftp://x.blob.core.windows.net/",
    "//x.blob.core.windows.net/",
    "/x.blob.core.windows.net",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://169.254.169.254/",
    "http://localhost:5000/",
    "https://actions.githubusercontent.com/",
    "https://results-receiver.actions.githubusercontent.com.evil.example/",
    "https://results-receiver.actions-githubusercontent.com/",
    "https://results-receiver.actions.githubusercontent.com:80/",
    "http://results-receiver.actions.githubusercontent.com/",
    "https://raw.githubusercontent.com/",
    "https://ghe.com/",
    "https://evilghe.com/",
    "https://xn--.ghe.com/",
    f"https://{'a' * 64}.ghe.com/",
    "https://tenant.ghe.com.evil.example/",
]


def line(refused: pytest.ExceptionInfo[Untrusted]) -> str:
    """The setting that a refusal names."""
    return str(refused.value).rpartition("set ")[2]


@pytest.mark.parametrize("url", FOREIGN)
def test_no_token_goes_to_a_foreign_host(url: str) -> None:
    with pytest.raises(Untrusted, match="RELAY_TRUSTED_HOSTS="):
        GITHUB.check_origin(URL(url, encoded=True))


@pytest.mark.parametrize("url", FOREIGN)
@pytest.mark.parametrize("origin", [None, RESULTS, URL("https://results.tenant.ghe.com")])
def test_no_bytes_come_from_a_foreign_host(url: str, origin: URL | None) -> None:
    with pytest.raises(Untrusted, match="RELAY_TRUSTED_HOSTS="):
        GITHUB.check_signed(URL(url, encoded=True), origin)


@pytest.mark.parametrize(
    "url",
    [
        "https://results-receiver.actions.githubusercontent.com",
        "https://RESULTS-Receiver.Actions.GitHubUserContent.com/",
        "https://results-receiver.actions.githubusercontent.com:443/",
        "https://results.actions.tenant.ghe.com",
    ],
)
def test_the_results_services_of_github_are_trusted_by_https(url: str) -> None:
    GITHUB.check_origin(URL(url, encoded=True))


@pytest.mark.parametrize(
    "url",
    [
        "https://productionresultssa5.blob.core.windows.net/actions-results/x.zip?se=1&sig=a%2Bb",
        "https://ProductionResultsSA5.Blob.Core.Windows.net:443/x",
        "https://results-receiver.actions.githubusercontent.com/twirp/x?sig=a",
        "https://Results-Receiver.actions.githubusercontent.com:443/twirp/x?sig=a",
    ],
)
def test_bytes_come_from_storage_of_azure_and_from_the_results_service_itself(url: str) -> None:
    GITHUB.check_signed(URL(url, encoded=True), RESULTS)


def test_without_a_results_service_only_storage_of_azure_is_left() -> None:
    with pytest.raises(Untrusted):
        GITHUB.check_signed(URL("https://results-receiver.actions.githubusercontent.com/x"), None)


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        ({"gitea"}, "http://gitea:3000/x"),
        ({"gitea:3000"}, "http://GITEA:3000/x"),
        ({"gitea:443"}, "https://gitea/x"),
        ({"10.0.0.5:34567"}, "http://10.0.0.5:34567/"),
        ({"::1"}, "http://[::1]:8000/"),
        ({"[::1]:8000"}, "http://[::1]:8000/"),
    ],
)
def test_a_named_host_is_trusted_by_http_too(hosts: set[str], url: str) -> None:
    trust = TrustedHosts(frozenset(hosts))

    trust.check_origin(URL(url, encoded=True))
    trust.check_signed(URL(url, encoded=True), None)


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        ({"gitea:3000"}, "http://gitea:3001/"),
        ({"gitea:80"}, "https://gitea/"),
        ({"gitea"}, "http://gitea.evil.example/"),
        ({"gitea"}, "http://gitea./"),
        ({"gitea"}, "http://me@gitea/"),
        ({"gitea"}, "http://evil.example/gitea"),
        ({"gitea"}, "ftp://gitea/"),
        ({"localhost", "127.0.0.1", "::1"}, "http://[::ffff:127.0.0.1]/"),
        ({"localhost", "127.0.0.1", "::1"}, "http://127.0.0.1.nip.io/"),
        ({"localhost", "127.0.0.1", "::1"}, "http://0x7f000001/"),
    ],
)
def test_what_is_near_a_named_host_is_not_trusted(hosts: set[str], url: str) -> None:
    trust = TrustedHosts(frozenset(hosts))

    with pytest.raises(Untrusted):
        trust.check_origin(URL(url, encoded=True))
    with pytest.raises(Untrusted):
        trust.check_signed(URL(url, encoded=True), None)


def test_the_scheme_is_part_of_the_origin_of_a_results_service() -> None:
    with pytest.raises(Untrusted):
        GITHUB.check_signed(URL("http://gitea:3000/x"), URL("https://gitea:3000"))


def test_a_refusal_names_the_setting_that_would_help_and_keeps_what_was_set() -> None:
    trust = TrustedHosts(frozenset({"gitea:3000", "minio"}), ("gitea:3000", "minio"))

    with pytest.raises(Untrusted) as service:
        GITHUB.check_origin(URL("http://10.0.0.5:34567"))
    with pytest.raises(Untrusted) as storage:
        trust.check_signed(URL("https://[2001:DB8::1]/x?sig=secret"), None)

    assert line(service) == "RELAY_TRUSTED_HOSTS=10.0.0.5:34567"
    assert line(storage) == "RELAY_TRUSTED_HOSTS=gitea:3000,minio,[2001:db8::1]:443"
    assert "secret" not in str(storage.value)


@pytest.mark.parametrize("url", ["https://api.github.com", "https://API.github.com/", "https://api.tenant.ghe.com"])
def test_the_api_of_github_is_trusted_by_https(url: str) -> None:
    GITHUB.check_api(URL(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://api.github.com",
        "https://api.github.com:8443",
        "https://api.github.com.evil.example",
        "https://api-github.com",
        "https://github.com",
        "https://me@api.github.com",
        "https://x.actions.githubusercontent.com",
        "/repos",
    ],
)
def test_no_token_goes_to_another_api(url: str) -> None:
    with pytest.raises(Untrusted, match="RELAY_TRUSTED_HOSTS="):
        GITHUB.check_api(URL(url))

    TrustedHosts(frozenset({"127.0.0.1:8000"})).check_api(URL("http://127.0.0.1:8000"))
