"""Neither tokens nor signed URLs are told: not in logs, not in answers, not in what is stored, whatever goes wrong.

Every other test with the artifact service searches logs and answers of its relays as well (`Jobs`).
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.archive.index import decode
from tests.e2e import archives
from tests.e2e.clients import ClientError, Toolbox
from tests.e2e.images import Image, several_layers
from tests.e2e.jobs import Jobs
from tests.e2e.push_pull_clients import CLIENTS
from tests.e2e.relay import Relay
from tests.fakes.actions import tokens
from tests.fakes.actions.faults import Answer, Fault, no_storage_left, twirp_error
from tests.fakes.actions.fixtures import require_tools
from tests.fakes.actions.official import OfficialClient

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

_URL = "https://storage.example/blob?se=2030-01-01T00%3A00%3A00Z&sig=c2lnbmF0dXJl"
_REFUSALS: dict[str, Fault] = {
    "unknown JSON": Answer(400, json.dumps({"message": _URL}), "application/json"),
    "a message": twirp_error(400, "invalid_argument", f"{_URL} is wrong"),
    "no token": twirp_error(401, "unauthenticated", _URL),
    "no such method": twirp_error(404, "bad_route", _URL),
    "no storage left": no_storage_left(),
}


def _bytes_below(folder: Path) -> list[str]:
    return [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]


def test_what_is_stored_holds_no_secret(
    jobs: Jobs, toolbox: Toolbox, image: Callable[[str], Image], tmp_path: Path
) -> None:
    relay = jobs.relay("build")
    CLIENTS["crane"].push(toolbox, image("attested-index"), f"{relay.host}/app:v1")
    relay.kill()
    jobs.actions.options.whole_read_limit = None
    official = OfficialClient(require_tools(), jobs.environment("download"), tmp_path)
    (listed,) = official.list()

    official.download(listed["id"], tmp_path / "got", listed["digest"])

    (archive,) = (tmp_path / "got").iterdir()
    assert archives.blobs(archive) == image("attested-index").blobs
    plain = toolbox.host("zstd", "--decompress", "--quiet", "-o", str(tmp_path / "got" / "plain.tar"), str(archive))
    stored = archive.read_bytes()
    index = decode(stored, len(stored))
    jobs.search([plain, repr(index), *_bytes_below(tmp_path / "got"), *_bytes_below(relay.data)])


@pytest.mark.parametrize("refusal", _REFUSALS)
def test_an_error_of_the_artifact_service_is_told_without_what_it_said(
    refusal: str, jobs: Jobs, toolbox: Toolbox, tmp_path: Path
) -> None:
    relay, image = jobs.relay("build"), several_layers(tmp_path / "image")
    jobs.actions.plan.play("CreateArtifact", _REFUSALS[refusal], times=None)

    with pytest.raises(ClientError) as refused:
        CLIENTS["crane"].push(toolbox, image, f"{relay.host}/app:v1")

    assert "DENIED: " in str(refused.value)
    jobs.actions.plan.clear()
    jobs.search([str(refused.value)])


def test_an_error_of_blob_storage_is_told_without_what_it_said(jobs: Jobs, toolbox: Toolbox, tmp_path: Path) -> None:
    first, image = jobs.relay("build"), several_layers(tmp_path / "image")
    CLIENTS["crane"].push(toolbox, image, f"{first.host}/app:v1")
    first.kill()
    jobs.actions.plan.play("get_range", Answer(403, _URL), times=None)
    second = jobs.relay("test")

    status, _, body = second.request("GET", "/v2/app/manifests/v1")

    assert status >= 400
    assert body in second.answers  # which are searched at the end
    jobs.actions.plan.clear()


def _refused(relay: Relay, offer: bytes) -> str:
    status, _, body = relay.request("PUT", "/relay/session", {"Content-Type": "application/json"}, offer)
    assert 400 <= status < 500, body
    return body.decode()


def test_a_session_that_is_refused_is_refused_without_showing_it(jobs: Jobs) -> None:
    relay, job = jobs.service_container(), jobs.job("build")
    expired = tokens.mint(job.run.backend_id, job.id, -10)
    forged = tokens.mint(job.run.backend_id, job.id, key=b"another key")
    jobs.secrets |= {expired, forged, *expired.split(".")[1:], *forged.split(".")[2:]}

    said = [
        _refused(relay, jobs.offer(token=expired)),
        _refused(relay, jobs.offer(token=forged)),
        _refused(relay, jobs.offer(token=f"{forged} and more")),
        _refused(relay, jobs.offer(results_url=f"https://results.example/{_URL}")),
        _refused(relay, jobs.offer() + b"}"),
    ]
    status, _, _ = relay.request("GET", "/relay/session")

    assert status in {404, 405}
    assert len(set(said)) >= 3
    jobs.search(said)
